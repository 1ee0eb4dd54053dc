"""What producers say of themselves against the ledger: what is asked, and what is told."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from services.ingest.tally import IngestTally
from tools.accounts import closed_minute, read_tally, received_in, told
from udfs.logic.audit.accounts import Amount, ProducerTally, compare_producers

MINUTE = 29_400_000


class Session:
    """Has these rows, whatever is asked."""

    def __init__(self, *rows: tuple[object, ...]) -> None:
        self._rows = rows
        self.asked: list[object] = []

    def prepare(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(text=text)

    def execute(self, _statement: object, values: tuple[Any, ...]) -> list[tuple[object, ...]]:
        self.asked.append(values)
        return [row for row in self._rows if not isinstance(values[0], list) or utc(row[0]) in values[0]]


def utc(at: Any) -> datetime:
    return at.replace(tzinfo=UTC)  # type: ignore[no-any-return]


def naive(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC).replace(tzinfo=None)


def test_an_answer_of_ingest_is_read() -> None:
    tally = IngestTally(10)
    tally.acknowledged(MINUTE * 60_000 + 5, 7)
    tally.acknowledged((MINUTE + 1) * 60_000, 0)
    minutes = ",".join(
        f'{{"start": "{naive(at):%Y-%m-%dT%H:%M:%SZ}", "events": {one.events}, "records": {one.records}}}'
        for at, one in tally.minutes()
    )
    answer = f'{{"producer_id": "p", "minutes": [{minutes}]}}'.encode()
    assert read_tally(answer) == ProducerTally("p", {MINUTE: Amount(7, 1), MINUTE + 1: Amount(0, 1)})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], 0),
        ([(0, 2, naive(MINUTE))], 0),
        ([(0, 2, naive(MINUTE)), (1, 2, None)], 0),
        ([(0, 2, naive(MINUTE)), (1, 2, naive(MINUTE + 3))], MINUTE),
    ],
)
def test_minutes_are_compared_that_every_shard_has_closed(rows: list[tuple[object, ...]], expected: int) -> None:
    assert closed_minute(Session(*rows)) == expected


def test_what_was_received_is_of_all_salts() -> None:
    session = Session((naive(MINUTE), 3, 1), (naive(MINUTE), 4, 2), (naive(MINUTE + 99), 5, 5))
    found = received_in(session, range(MINUTE, MINUTE + 100))
    assert found == {MINUTE: Amount(7, 3), MINUTE + 99: Amount(5, 5)}
    assert len(session.asked) == 2


def test_what_is_told_counts_verdicts_and_shows_what_is_wrong() -> None:
    producers = [ProducerTally("p", {MINUTE: Amount(5, 1), MINUTE + 1: Amount(2, 1), MINUTE + 2: Amount(9, 1)})]
    received = {MINUTE: Amount(5, 1), MINUTE + 1: Amount(8, 4), MINUTE + 2: Amount(8, 1)}
    text = told(compare_producers(received, producers, sorted(received)))
    at = f"{naive(MINUTE + 2):%Y-%m-%dT%H:%MZ}"
    assert text.splitlines() == [
        f"{at}: the ledger has 8 events of 1 records, Kafka has acknowledged 9 of 1: run the audit",
        "3 minutes: 1 equal, 1 unknown, 1 wrong; producers that were asked wrote 16 of 21 events",
    ]
