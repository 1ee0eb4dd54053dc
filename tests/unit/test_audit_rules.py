"""Sums against what they are sums of, and accounts of events, against the same in plain Python."""

from collections.abc import Mapping

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.audit import ranges_of, told
from schemas.ledger import LEDGER_COLUMNS
from tests.support.local_audit import AUDITED_AT
from tests.support.tiers import examples
from udfs.logic.audit.accounts import (
    EQUAL,
    UNKNOWN,
    WRONG,
    Amount,
    Fates,
    ProducerTally,
    WrongAccount,
    compare_ledger,
    compare_producers,
    partition_of,
)
from udfs.logic.audit.minutes import Verdict
from udfs.logic.audit.sums import (
    AMOUNTS,
    DAYS_PARQUET,
    DIFFERENCES,
    HOURS_PARQUET,
    LEDGER,
    STORED_AMOUNTS,
    VIEW_TOTALS,
    Finding,
    added_up,
    differences,
    finding,
    together,
    without_doubtful,
    without_newer,
)
from udfs.logic.history.manifest import SliceInfo
from udfs.operators.audit import TABLES, Question

HOUR = 490_000
MINUTE = HOUR * 60
Sums = Mapping[tuple[str, str, int], tuple[int, int]]
KEY = st.tuples(st.sampled_from(["a", "b", "é"]), st.sampled_from(["view", "like"]), st.integers(0, 2))
SUMS = st.dictionaries(KEY, st.tuples(st.integers(0, 3), st.integers(0, 1)))


def amounts_of(sums: Sums) -> pa.Table:
    rows = [(*key, *counts) for key, counts in sums.items()]
    return pa.Table.from_pylist([dict(zip(AMOUNTS.names, row, strict=True)) for row in rows], schema=AMOUNTS)


@examples(full=100, fast=10)
@given(SUMS, SUMS)
def test_each_row_that_is_not_as_it_should_be_is_found(right: Sums, there: Sums) -> None:
    compared, wrong = differences(amounts_of(right), amounts_of(there))
    assert compared == len({*right, *there})
    expected = []
    for key in sorted({*right, *there}, key=lambda key: (key[2], key[0], key[1])):
        after, before = right.get(key, (0, 0)), there.get(key, (0, 0))
        if before != after:
            expected.append((*key, before[0], after[0], before[1], after[1]))
    assert [tuple(row.values()) for row in wrong.to_pylist()] == expected
    assert wrong.schema == DIFFERENCES


@examples(full=50, fast=10)
@given(st.lists(SUMS, max_size=3))
def test_sums_are_by_video_and_kind(tables: list[Sums]) -> None:
    expected: dict[tuple[str, str], list[int]] = {}
    for sums in tables:
        for (video, kind, _), counts in sums.items():
            of = expected.setdefault((video, kind), [0, 0])
            of[0] += counts[0]
            of[1] += counts[1]
    found = together(map(amounts_of, tables), 7)
    assert {tuple(row.values()) for row in found.to_pylist()} == {(*name, 7, *of) for name, of in expected.items()}


def test_rows_of_a_newer_manifest_say_nothing_and_others_do() -> None:
    right = amounts_of({("a", "view", 0): (1, 0), ("b", "view", 0): (2, 0)})
    stored = pa.Table.from_pylist(
        [
            dict(zip(STORED_AMOUNTS.names, (video, "view", 0, 9, 0, at), strict=True))
            for video, at in [("a", 5), ("b", 6)]
        ],
        schema=STORED_AMOUNTS,
    )
    compared, wrong = differences(*without_newer(right, stored, {6}))
    assert (compared, wrong["video_id"].to_pylist()) == (1, ["a"])
    assert differences(*without_newer(right, stored, ()))[1].num_rows == 2


def test_what_is_in_doubt_is_no_difference_to_be_repaired() -> None:
    _, wrong = differences(amounts_of({("a", "view", 1): (1, 0), ("b", "view", 1): (1, 0)}), AMOUNTS.empty_table())
    _, doubtful = differences(amounts_of({("a", "view", 1): (5, 0), ("b", "view", 2): (1, 0)}), AMOUNTS.empty_table())
    assert without_doubtful(wrong, [doubtful])["video_id"].to_pylist() == ["b"]
    assert without_doubtful(wrong, []).num_rows == 2


def test_findings_of_shards_add_up_in_order() -> None:
    _, wrong = differences(amounts_of({("a", "view", 3): (1, 0)}), AMOUNTS.empty_table())
    findings = [
        Finding(LEDGER, 5), finding(HOURS_PARQUET, 4, wrong, 2), finding(HOURS_PARQUET, 6, wrong, 1),
    ]  # fmt: skip
    assert added_up(findings) == [Finding(HOURS_PARQUET, 10, 2, 0, [(3, 1), (3, 2)]), Finding(LEDGER, 5)]


def fates(received: int) -> Fates:
    return (received, received, *[0] * 5, 1, 0, 0)


def slice_of(hour: int, offsets: tuple[int, int], tallies: Mapping[int, Mapping[int, int]], part: int = 0) -> SliceInfo:
    """`tallies`: by salt and minute what was received."""
    return SliceInfo(
        partition=0, hour=hour, part=part, next_hour=hour + 1, first_offset=offsets[0], next_offset=offsets[1],
        records=1, cells=[], countries=[], viewers=[], known=[], late={}, gaps=[],
        # As slices of before there were clamped records have it.
        tallies={salt: [(minute, *fates(n)[:9]) for minute, n in of.items()] for salt, of in tallies.items()},
    )  # fmt: skip


# Of salt 0: a minute that goes on in the next slice, and one that is not over; of salt 2: only the first hour.
SLICES = [
    slice_of(HOUR, (10, 20), {0: {MINUTE + 58: 3, MINUTE + 59: 1}, 2: {MINUTE + 5: 8, MINUTE + 6: 9}}),
    slice_of(HOUR + 1, (20, 30), {0: {MINUTE + 59: 4, MINUTE + 60: 5}}),
    slice_of(HOUR + 2, (30, 40), {0: {MINUTE + 121: 6, MINUTE + 130: 1}}),
]
RIGHT = {
    (MINUTE + 58, 0): fates(3),
    (MINUTE + 59, 0): fates(4),
    (MINUTE + 60, 0): fates(5),
    (MINUTE + 121, 0): fates(6),
    (MINUTE + 5, 2): fates(8),
    # Of salt 2 the hour after it has nothing; that of minute 6 may go on there, and does not.
    (MINUTE + 6, 2): fates(9),
}
# What nobody can judge: before the slices, and after their end.
UNJUDGED = {
    (MINUTE + 57, 0): fates(1),
    (MINUTE + 130, 0): fates(9),
    (MINUTE + 140, 0): fates(1),
    (MINUTE + 4, 2): fates(1),
}


def compare(rows: Mapping[tuple[int, int], Fates], **more: object) -> tuple[int, list[WrongAccount]]:
    span = {"first_minute": 0, "end_minute": MINUTE + 1000, **more}
    return compare_ledger(SLICES, rows, **span)  # type: ignore[arg-type]


def test_a_ledger_that_the_archive_agrees_with_is_equal() -> None:
    assert compare({**RIGHT, **UNJUDGED}) == (len(RIGHT), [])


@pytest.mark.parametrize("place", RIGHT)
def test_a_row_of_the_ledger_that_is_lost_or_wrong_is_found(place: tuple[int, int]) -> None:
    lost = {at: row for at, row in RIGHT.items() if at != place}
    assert compare(lost)[1] == [WrongAccount(*place, None, RIGHT[place])]
    for column in range(len(LEDGER_COLUMNS)):
        wrong = list(RIGHT[place])
        wrong[column] += 1
        assert compare({**RIGHT, place: tuple(wrong)})[1] == [WrongAccount(*place, tuple(wrong), RIGHT[place])]


def test_a_row_of_records_that_never_came_is_found() -> None:
    # In an hour of which all is known, of any salt.
    for place in ((MINUTE + 90, 0), (MINUTE + 90, 16)):
        assert compare({**RIGHT, place: fates(2)})[1] == [WrongAccount(*place, fates(2), (0,) * len(LEDGER_COLUMNS))]


def test_hours_with_gaps_and_others_than_asked_are_not_judged() -> None:
    assert compare({}, gap_hours=[HOUR, HOUR + 1])[1] == [WrongAccount(MINUTE + 121, 0, None, fates(6))]
    assert compare({}, first_minute=MINUTE + 60, end_minute=MINUTE + 121)[1] == [
        WrongAccount(MINUTE + 60, 0, None, fates(5))
    ]


def test_what_is_not_known_of_slices_that_are_gone_is_not_judged() -> None:
    """Without the slice in the middle, the minute that goes on in it is not over, and the hour not known."""
    left = [SLICES[0], SLICES[2]]
    rows = {(MINUTE + 59, 0): fates(4), (MINUTE + 60, 0): fates(77)}
    compared, wrong = compare_ledger(left, rows, first_minute=0, end_minute=MINUTE + 1000)
    # Of each run the last minute of a salt is open.
    assert {(one.minute, one.salt) for one in wrong} == {(MINUTE + 58, 0), (MINUTE + 121, 0), (MINUTE + 5, 2)}
    assert compared == 3


def test_a_salt_and_a_record_without_one_are_of_their_partition() -> None:
    assert [partition_of(salt, 4) for salt in (0, 5, 63, -1, -3)] == [0, 1, 3, 0, 2]


def producer(name: str, minutes: Mapping[int, tuple[int, int]]) -> ProducerTally:
    return ProducerTally(name, {minute: Amount(*of) for minute, of in minutes.items()})


@pytest.mark.parametrize(
    ("tallies", "verdict"),
    [
        ([producer("a", {7: (3, 2)}), producer("b", {7: (4, 1)})], EQUAL),
        # The same process by two addresses.
        ([producer("a", {7: (7, 3)}), producer("a", {7: (7, 3)})], EQUAL),
        # One was killed since, or an acknowledgement was lost.
        ([producer("a", {7: (3, 2)})], UNKNOWN),
        ([producer("a", {7: (7, 2)})], UNKNOWN),
        ([producer("a", {8: (7, 3)})], UNKNOWN),
        ([], UNKNOWN),
        # What Kafka has acknowledged the ledger lacks.
        ([producer("a", {7: (8, 3)})], WRONG),
        ([producer("a", {7: (3, 4)})], WRONG),
    ],
)
def test_producers_that_are_known_account_for_at_most_what_was_received(
    tallies: list[ProducerTally], verdict: str
) -> None:
    (found,) = compare_producers({7: Amount(7, 3)}, tallies, [7])
    assert (found.minute, found.verdict, found.received) == (7, verdict, Amount(7, 3))


def test_a_minute_that_the_ledger_lacks_is_wrong_when_somebody_wrote() -> None:
    assert [one.verdict for one in compare_producers({}, [producer("a", {7: (0, 1)})], [7, 8])] == [WRONG, EQUAL]


def test_what_is_said_names_things_places_and_what_to_do() -> None:
    findings = [
        Finding(DAYS_PARQUET, 9, 1, 0, [(20_000 * 86_400_000, 3)]),
        Finding(VIEW_TOTALS, 5, 2, 2, [(0, 1)]),
        Finding(LEDGER, 100, 7, 0, [(MINUTE * 60_000, n) for n in range(6)]),
    ]
    days, totals, ledger, beside, last = told([Verdict(HOUR, 7, 7)], findings).splitlines()
    assert days.startswith("days_parquet: 1 of 9 rows wrong, 0 repaired, at 2024-10-04 shard 3: ")
    assert "docs/rebuild.md" in days
    assert totals == ("view_totals: 2 of 5 rows wrong, 2 repaired, at shard 1: rows differ from the Parquet of totals")
    assert "at 2025-11-24T16:00Z partition 0, " in ledger
    assert ledger.count("partition") == 5
    assert ledger.endswith("; --repair corrects them")
    assert beside == "114 rows beside them: 10 wrong; 2 repaired (days_parquet 9, view_totals 5, ledger 100)"
    assert last == "1 hours, 7 cells: 7 equal, 0 wrong, 0 late (+0 views); 0 repaired"


@pytest.mark.parametrize("hours", [0, 1, 13])
def test_every_hour_of_arrival_is_read_once_and_every_partition_hears_of_it(hours: int) -> None:
    question = Question(HOUR, HOUR, None, AUDITED_AT, HOUR, HOUR + hours, 0, HOUR)
    ledger = [(first, last) for number, first, last in ranges_of(question) if TABLES[number] == LEDGER]
    assert ledger
    assert [hour for first, last in ledger for hour in range(first, last)] == list(range(HOUR, HOUR + hours))
