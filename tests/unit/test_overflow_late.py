"""What is drained later than the lateness is late for the stream, and the total is right after the next rollup."""

import os
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from schemas.declaration import Declaration
from schemas.view_records import event_tail
from services.ingest.events import ViewEvent
from services.ingest.packing import pack
from tests.support.local_rollup import HOUR_MS, LocalRollup
from tests.support.overflow_store import MemoryLog, MemoryObjects, Time, drainer_of
from tests.support.random_streams import MINUTE_MS, NOW_MS, RULES, encode
from udfs.logic.overflow.object_file import encode as encode_object
from udfs.logic.overflow.object_name import Destination
from udfs.logic.stream.dedup import SaltDedup

pytestmark = pytest.mark.slow

PARTITIONS = 2


def totals(rollup: LocalRollup) -> dict[str, int]:
    """By video, as the table has them."""
    rows = rollup.tables.get("view_totals", {}).values()
    return {
        bytes(row["video_id"]).decode(): int.from_bytes(row["views"], "big")  # type: ignore[call-overload, arg-type]
        for row in rows
    }


def heartbeats(rollup: LocalRollup, at_ms: int) -> None:
    """All salts have reached this time, and the archive has had it for hours."""
    rollup.archive((at_ms, salt, encode(salt, [], at_ms)) for salt in range(RULES.salts))
    for path in (rollup.root / "archive").rglob("part-*"):
        os.utime(path, (time.time() - 10_000, time.time() - 10_000))


def test_the_total_is_right_after_the_rollup(tmp_path: Path) -> None:
    rollup = LocalRollup(tmp_path, RULES, {}, late_hours=24, late_file_hours=4)
    clock, objects = Time(NOW_MS), MemoryObjects()
    heartbeats(rollup, NOW_MS)
    viewed = [NOW_MS + minute * MINUTE_MS for minute in range(1, 55)]
    ids = [uuid.UUID(int=n + 1) for n in range(len(viewed))]
    events = [
        ViewEvent(video_id=f"v{n % 3}", event_id=one, viewed_at=at)
        for n, (one, at) in enumerate(zip(ids, viewed, strict=True))
    ]
    packed = pack(events, range(len(events)), now_ms=NOW_MS + HOUR_MS, salts=1, tail=event_tail())
    name, content = encode_object(
        packed.blocks,
        len(events),
        made_ms=NOW_MS + HOUR_MS,
        producer_id="i",
        sequence=1,
        destination=Destination.EVENTS,
    )
    objects.put(name, content)
    for hour in (1, 2):
        heartbeats(rollup, NOW_MS + hour * HOUR_MS)
    rollup.make_register()
    rollup.run()
    assert totals(rollup) == {}, "the hour is complete, and its events wait in overflow"
    # Kafka is back two hours later, and the object is drained twice.
    clock.ms = NOW_MS + 2 * HOUR_MS + 30 * MINUTE_MS
    log = MemoryLog(clock.now_ms)
    declared = Declaration(RULES.salts, PARTITIONS)
    settings = rollup.settings
    for _ in range(2):
        objects.drained.clear()
        drainer_of(settings, objects, log, clock, declared=lambda: declared).turn()
    records = [record for partition in range(PARTITIONS) for record in log.records.get(partition, [])]
    assert sum(len(SaltDedup(salt, RULES).judge(value, at, salt).late) for at, salt, value in records) == 2 * len(ids)
    rollup.archive(records)
    heartbeats(rollup, NOW_MS + 3 * HOUR_MS)
    heartbeats(rollup, NOW_MS + 4 * HOUR_MS)
    rollup.run()
    assert totals(rollup) == dict(Counter(event.video_id for event in events))
