"""A drainer brings every event to Kafka once it can, and deletes nothing that answers must still know of."""

import uuid
from collections import Counter
from typing import Any

import pytest

from schemas.declaration import Declaration
from schemas.registry import decode as decode_value
from schemas.view_records import event_tail
from services.ingest.events import ViewEvent
from services.ingest.packing import pack
from settings import CountingSettings, DrainSettings, KafkaSettings, Settings
from settings.durations import HOUR_MS, MINUTE_MS
from tests.support.overflow_store import KilledError, MemoryLog, MemoryObjects, Time, drainer_of
from udfs.logic.overflow.drain_rate import drain_rate
from udfs.logic.overflow.object_file import encode
from udfs.logic.overflow.object_name import Destination, ObjectName
from udfs.logic.stream.dedup import SaltDedup

SETTINGS = Settings(
    counting=CountingSettings(salts=8), kafka=KafkaSettings(partitions=4), drain=DrainSettings(hold_s=5, skew_ms=0)
)
NOW_MS = 1_800_000_000_000
TAIL = event_tail(project="acme")


def put(
    objects: MemoryObjects, first: int, count: int, *, viewed_ms: int = NOW_MS, made_ms: int = NOW_MS, **changes: Any
) -> ObjectName:
    """Store an object of events with ids from `first` on."""
    events = [
        ViewEvent(video_id="A", event_id=uuid.UUID(int=n), viewed_at=viewed_ms, viewer_id="somebody")
        for n in range(first, first + count)
    ]
    packed = pack(events, range(count), now_ms=NOW_MS, salts=1, tail=TAIL)
    said = {"made_ms": made_ms, "producer_id": "i", "sequence": first, "destination": Destination.EVENTS, **changes}
    name, content = encode(packed.blocks, count, **said)
    objects.put(name, content)
    return name


def ids_in(log: MemoryLog) -> Counter[int]:
    return Counter(
        int.from_bytes(event["event_id"], "big")
        for records in log.records.values()
        for _, _, value in records
        for event in decode_value(value)[1]["events"]
    )


def counted(log: MemoryLog) -> int:
    """How many events the count job counts of the log."""
    sums = 0
    for salt in range(SETTINGS.counting.salts):
        dedup = SaltDedup(salt, SETTINGS.counting)
        for stamp_ms, of, value in log.records.get(salt % SETTINGS.kafka.partitions, []):
            if of == salt:
                outcome = dedup.judge(value, stamp_ms, salt)
                assert not outcome.dead
                sums += 0 if outcome.fresh is None else len(outcome.fresh)
    return sums


def test_every_event_is_written_under_its_salt_and_the_object_stays_until_it_is_counted() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    frontier: list[int | None] = [None]
    name = put(objects, 1, 200)
    drainer = drainer_of(SETTINGS, objects, log, time, frontier_ms=lambda: frontier[0])
    drainer.turn()
    assert ids_in(log) == Counter(range(1, 201))
    assert counted(log) == 200
    for partition, records in log.records.items():
        for _, salt, value in records:
            batch = decode_value(value)[1]
            assert salt % 4 == partition
            assert (batch["salt"], batch["salts"], batch["origin"]) == (salt, 8, "overflow")
            assert {event["project"] for event in batch["events"]} == {"acme"}
    account = objects.drained[name]
    assert (account.events, account.too_old, account.refused) == (200, 0, 0)
    # The stream has not passed the records, or nobody knows.
    for frontier[0] in (None, account.stamp_ms):
        drainer.turn()
        assert objects.names() == [name]
    frontier[0] = account.stamp_ms + 1
    drainer.turn()
    assert objects.names() == []
    assert sum(ids_in(log).values()) == 200, "an object is written once"
    assert objects.drained == {name: account}, "the account stays"


def test_a_dead_partition_holds_back_its_own_events_alone() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    log.dead = {2}
    names = [put(objects, first, 100) for first in (1, 101)]
    drainer = drainer_of(SETTINGS, objects, log, time)
    drainer.turn()
    assert set(log.records) == {0, 1, 3}
    before = sum(ids_in(log).values())
    drainer.turn()
    assert sum(ids_in(log).values()) == before, "other partitions are not written again"
    assert objects.drained == {}
    log.dead = set()
    time.ms += 6000
    drainer.turn()
    assert ids_in(log) == Counter(range(1, 201))
    assert set(objects.drained) == set(names)


@pytest.mark.parametrize(
    "step", ["between partitions", "after records", "before account", "after account", "before delete", "after delete"]
)
def test_a_drainer_that_is_killed_at_any_step_does_no_harm(step: str) -> None:
    for turn in range(1, 5):
        left = [turn]

        def dies(at: str, left: list[int] = left) -> None:
            left[0] -= at == step
            if at == step and left[0] == 0:
                raise KilledError

        time, objects = Time(NOW_MS), MemoryObjects(dies)
        log = MemoryLog(time.now_ms, dies)
        for first in (1, 101):
            put(objects, first, 100)
        for _ in range(4):
            drainer = drainer_of(SETTINGS, objects, log, time, frontier_ms=lambda: time.ms)  # noqa: B023
            try:
                drainer.turn()
                time.ms += 1000
                drainer.turn()
            except KilledError:
                continue
        assert counted(log) == 200
        assert set(ids_in(log)) == set(range(1, 201))
        assert objects.names() == []


def test_two_drainers_of_one_object_count_nothing_twice() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    put(objects, 1, 100)
    some, other = MemoryObjects(), MemoryObjects()
    some.objects, other.objects = dict(objects.objects), dict(objects.objects)
    for mine in (some, other):
        drainer_of(SETTINGS, mine, log, time).turn()
    assert set(ids_in(log).values()) == {2}
    assert counted(log) == 100


def test_what_is_too_old_is_a_dead_letter_without_its_viewer() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    late_ms = SETTINGS.history.late_hours * HOUR_MS
    old = put(objects, 1, 50, viewed_ms=NOW_MS - late_ms)
    young = put(objects, 101, 50, viewed_ms=NOW_MS - late_ms + 2 * MINUTE_MS)
    drainer_of(SETTINGS, objects, log, time).turn()
    assert (objects.drained[old].events, objects.drained[old].too_old) == (0, 50)
    assert (objects.drained[young].events, objects.drained[young].too_old) == (50, 0)
    assert set(ids_in(log)) == set(range(101, 151))
    assert log.letters
    assert all(b"somebody" not in letter for letter in log.letters)
    found = [event for letter in log.letters for event in decode_value(letter)[1]["events"]]
    assert sorted(event["index"] for event in found) == list(range(50))
    assert {event["reason"] for event in found} == {"too_old"}
    # Nobody waits for a stream that gets none of it.
    drainer_of(SETTINGS, objects, log, time).turn()
    assert old not in objects.names()


def test_diverted_events_stay_apart() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    put(objects, 1, 50, destination=Destination.DIVERTED)
    drainer = drainer_of(SETTINGS, objects, log, time)
    drainer.turn()
    assert log.records == {}
    assert sum(len(decode_value(value)[1]["events"]) for value in log.diverted) == 50
    drainer.turn()
    assert objects.names() == []


def test_the_declaration_in_force_decides_the_salts() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    put(objects, 1, 100)
    drainer_of(SETTINGS, objects, log, time, declared=lambda: Declaration(2, 2)).turn()
    assert set(log.records) == {0, 1}


def test_a_broken_object_stays_and_holds_nobody_up() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    broken, good = put(objects, 1, 10), put(objects, 101, 10)
    objects.put(broken, objects.objects[broken][:-30])
    drainer = drainer_of(SETTINGS, objects, log, time, frontier_ms=lambda: NOW_MS + HOUR_MS)
    drainer.turn()
    drainer.turn()
    assert objects.names() == [broken]
    assert set(objects.drained) == {good}


def test_accounts_are_forgotten_after_their_days() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    put(objects, 1, 10)
    for days in (0, 8, 15):
        time.ms = NOW_MS + days * 24 * HOUR_MS
        drainer_of(SETTINGS, objects, log, time, frontier_ms=lambda: time.ms).turn()
        assert bool(objects.drained) == (days < 15)


def test_the_rate_follows_the_lag_of_the_stream() -> None:
    time, objects = Time(NOW_MS), MemoryObjects()
    log = MemoryLog(time.now_ms)
    settings = SETTINGS.model_copy(
        update={"drain": DrainSettings(events_per_second_max=1000, events_per_second_min=10, lag_max_ms=10 * MINUTE_MS)}
    )
    put(objects, 1, 100)
    put(objects, 101, 100)
    drainer_of(settings, objects, log, time, frontier_ms=lambda: NOW_MS - HOUR_MS).turn()
    assert time.ms == NOW_MS + 20_000 or len(objects.drained) == 1, "the turn ends, and the next one goes on"
    rates = [drain_rate(lag, most=1000, least=10, lag_max_ms=600_000) for lag in (None, 0, 60_000, 330_000, 600_000)]
    assert rates == [1000, 1000, 1000, 500, 10]
