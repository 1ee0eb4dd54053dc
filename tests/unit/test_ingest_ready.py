"""Ingest is ready while some write succeeds: what it answers to writes and what it tells a balancer agree."""

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from schemas.registry import PREFIX_BYTES, decode
from services.access import access
from services.access.caller import Caller
from services.ingest import app as ingest_app
from services.ingest.packing import Packed
from services.ingest.tally import IngestTally
from services.ingest.writer import Batch, EventWriter, acknowledged_batches
from settings import CountingSettings, Settings
from tests.support.ingest_writer import BATCH_ID, FakeWriter, ingest_client

SALTS = PARTITIONS = Settings().kafka.partitions


class Writer(EventWriter):
    """One whose topic was found right and whose first heartbeat was acknowledged, without a Kafka."""

    def __init__(self) -> None:
        settings = Settings(counting=CountingSettings(salts=SALTS))
        super().__init__(settings, producer_id="test", tally=IngestTally(60))
        self._topics.trouble = None
        self._acked_at_s = time.monotonic()

    def settled(self, salt: int, failure: str | None, *, behind_ms: int = 0) -> None:
        """What librdkafka tells of a heartbeat, which a broker has stamped whose clock is so far behind."""
        self._pending[salt] += 1
        loop = asyncio.new_event_loop()
        self._settle(Batch(salt, loop.create_future()), failure, time.time_ns() // 1_000_000 - behind_ms)
        loop.close()


def test_it_is_not_ready_while_the_last_write_of_every_salt_failed() -> None:
    writer = Writer()
    assert writer.trouble is None
    for salt in range(SALTS - 1):
        writer.settled(salt, "_UNKNOWN_TOPIC")
    assert writer.trouble is None, "events of one salt can still be written"
    writer.settled(SALTS - 1, "_UNKNOWN_TOPIC")
    assert writer.trouble == "the last writes of all 4 salts failed: _UNKNOWN_TOPIC"


async def _written(writer: Writer) -> list[str | None]:
    """What became of one event of each salt."""
    writer._loop = asyncio.get_running_loop()
    shares = writer.write(Packed([b"event"] * SALTS, [[5]] * SALTS, [[salt] for salt in range(SALTS)], [], [], SALTS))
    assert writer._tick is not None
    writer._tick.cancel()
    return [done.result() if done.done() else None for done, _, _ in shares]


class _Producer:
    """Keeps what the writer gives to Kafka."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def produce(self, _topic: str, value: bytes, *, on_delivery: Any, **_: object) -> None:
        self.sent.append((value, on_delivery))


def test_a_batch_says_how_many_events_of_its_salt_were_acknowledged_before_it() -> None:
    writer = Writer()
    loop = asyncio.new_event_loop()

    def settle(salt: int, events: int, failure: str | None) -> None:
        writer._pending[salt] += 1
        writer._settle(Batch(salt, loop.create_future(), [b"event" * events], events), failure, 1)

    writer._producer = producer = _Producer()  # type: ignore[assignment]
    for salt, events, failure in ((1, 3, None), (1, 5, "_MSG_TIMED_OUT"), (2, 7, None), (1, 0, None), (1, 2, None)):
        settle(salt, events, failure)
    for salt in range(SALTS):
        writer._send(Batch(salt, loop.create_future()))
    loop.close()
    found = [decode(value)[1] for value, _ in producer.sent]
    assert [(one["acknowledged"], one["origin"]) for one in found] == [(n, "direct") for n in (0, 5, 7, 0)]


def test_the_batches_of_a_body_are_named_as_their_records_are() -> None:
    writer = Writer()
    writer._producer = producer = _Producer()  # type: ignore[assignment]

    async def body() -> tuple[list[str], list[str]]:
        writer._loop = asyncio.get_running_loop()
        shares = writer.write(
            Packed([b"event"] * SALTS, [[5]] * SALTS, [[salt] for salt in range(SALTS)], [], [], SALTS)
        )
        writer._flush_all()
        for share, failure in zip(shares, (None, "_MSG_TIMED_OUT", None, None), strict=True):
            share.done.set_result(failure)
        written = [value[PREFIX_BYTES : PREFIX_BYTES + 16].hex() for value, _ in producer.sent]
        return acknowledged_batches(shares), written

    named, written = asyncio.run(body())
    assert named == sorted([written[0], *written[2:]])
    assert len(set(written)) == SALTS


@pytest.mark.parametrize("has_batch_ids", [True, False])
def test_an_answer_names_batches_for_a_caller_that_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, has_batch_ids: bool
) -> None:
    monkeypatch.setattr(ingest_app, "EventWriter", FakeWriter)
    monkeypatch.setattr(access, "Caller", partial(Caller, has_batch_ids=has_batch_ids))
    client = ingest_client(Settings())
    answer = client.post("/v1/events", json={"events": [{"video_id": "A"}]})
    assert answer.headers.get("Batch-Ids") == (BATCH_ID.hex() if has_batch_ids else None)


def test_a_dead_partition_refuses_its_own_events_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    start_s = time.monotonic()
    for after_s in range(13):
        monkeypatch.setattr(time, "monotonic", lambda now_s=start_s + after_s: now_s)
        for salt in range(SALTS):
            if after_s == 0 or salt != 3:
                writer.settled(salt, None)
    assert writer.trouble is None
    (reason,) = writer.partial_trouble
    assert reason.startswith("partition 3 has acknowledged nothing for 12 s")
    assert asyncio.run(_written(writer)) == [None, None, None, reason]
    assert writer.events_in_flight == SALTS - 1
    writer.settled(3, None)
    assert writer.partial_trouble == []


def test_it_is_not_ready_when_some_clocks_are_wrong_and_all_other_partitions_are_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Writer()
    start_s = time.monotonic()
    for after_s in range(13):
        monkeypatch.setattr(time, "monotonic", lambda now_s=start_s + after_s: now_s)
        for salt in range(SALTS):
            if after_s == 0 or salt < 2:
                writer.settled(salt, None, behind_ms=100_000 if salt < 2 else 0)
        assert (writer.trouble is None) == (after_s < 12), "the silent ones can still be written to"
    found = [writer.trouble]
    assert len(writer.partial_trouble) == PARTITIONS
    assert found == [f"none of {PARTITIONS} partitions takes events; of the first: {writer.partial_trouble[0]}"]
    assert "partition 0 is 100 s behind" in writer.partial_trouble[0]
    for salt, behind_ms in ((1, 0), (1, 100_000), (3, 0)):
        writer.settled(salt, None, behind_ms=behind_ms)
        found.append(writer.trouble)
    assert [trouble is None for trouble in found[1:]] == [True, False, True]


def test_it_is_not_ready_while_the_clocks_of_all_partitions_are_wrong() -> None:
    writer = Writer()
    found = [writer.trouble]
    for salt in range(SALTS):
        writer.settled(salt, None, behind_ms=100_000)
        found.append(writer.trouble)
    writer.settled(2, None)
    assert [trouble is None for trouble in (*found, writer.trouble)] == [*[True] * SALTS, False, True]


def test_one_heartbeat_that_is_acknowledged_makes_it_ready_again() -> None:
    writer = Writer()
    for salt in range(SALTS):
        writer.settled(salt, "_UNKNOWN_TOPIC")
    writer.settled(2, None)
    assert writer.trouble is None


def test_events_are_parted_into_batches_between_events(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    writer._events_max = 3
    sent: list[Batch] = []
    monkeypatch.setattr(writer, "_send", sent.append)

    async def write() -> list[list[list[int]]]:
        writer._loop = asyncio.get_running_loop()
        texts = [b"a", b"bb", b"ccc", b"dddd", b"", b"f", b"gg", b"h"]
        shares = []
        for start, end in ((0, 2), (2, 3), (3, 8)):
            part = texts[start:end]
            ends = [sum(map(len, part[: n + 1])) for n in range(len(part))]
            none: list[list[int]] = [[]] * (SALTS - 1)
            packed = Packed(
                [b"".join(part)] + [b""] * (SALTS - 1), [ends, *none], [[*range(start, end)], *none], [], [], 1
            )
            shares.append([share.indexes for share in writer.write(packed)])
        writer._flush_all()
        return shares

    assert asyncio.run(write()) == [[[0, 1]], [[2]], [[3, 4, 5], [6, 7]]]
    assert [(batch.count, b"".join(batch.blocks)) for batch in sent] == [(3, b"abbccc"), (3, b"ddddf"), (2, b"ggh")]
    assert writer.events_in_flight == 8
