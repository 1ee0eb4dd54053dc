"""Writes the seeded counts into a Cassandra and an object store, by processes of its own.

The commit log is off for as long, because a store that is thrown away need not survive a kill.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
from cassandra.cluster import Session

from benchmarks.inputs import cql_rows, seeded_history
from benchmarks.inputs.seeded_counts import (
    DAY_S,
    HOUR_S,
    KIND,
    MINUTE_S,
    Numbers,
    Shape,
    busy_minutes,
    name_of,
    total_of,
    views_of,
)
from connectors.acknowledged import write_all
from connectors.cassandra import connect
from schemas.progress import PIPELINE
from settings import Settings
from udfs.logic.history.register import manifest_name
from udfs.sinks.packed_batch import PackedBatch, PackedProtocolHandler
from udfs.stores.archive import filesystem
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore

CONCURRENCY = 24
# Rows of many partitions are applied one after another, so a batch of them is short.
TOTALS_OF_A_BATCH = 40
ROWS_OF_A_PARTITION = 1000
SETTLED_WITHIN_S = 300.0

INSERTS = {
    "totals": "INSERT INTO view_totals (video_id, kind, views, late_added, complete_through) VALUES (?, ?, ?, ?, ?)",
    "days": "INSERT INTO views_by_day (video_id, kind, day, views, late_added, complete_through) "
    "VALUES (?, ?, ?, ?, ?, ?)",
    "hours": "INSERT INTO views_by_hour (video_id, kind, month, hour, views, late_added) VALUES (?, ?, ?, ?, ?, ?)",
    "minutes": "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (?, ?, ?, ?, ?)",
}
# How many videos one task writes.
AT_ONCE = {"totals": 50_000, "days": 500, "hours": 100, "minutes": 500}
KEY_VALUES = {"totals": 2, "days": 2, "hours": 3, "minutes": 3}


@dataclass(frozen=True)
class Task:
    """Rows of some videos in one table."""

    table: str
    first: int
    end: int
    shape: Shape
    last_minute: int


def tasks(shape: Shape, last_minute: int) -> list[Task]:
    """All of them. Minutes are written from the first of the day to before `last_minute`."""
    videos = {
        "totals": shape.videos,
        "days": shape.day_videos,
        "hours": shape.hour_videos,
        "minutes": shape.hour_videos,
    }
    return [
        Task(table, first, min(first + AT_ONCE[table], number), shape, last_minute)
        for table, number in videos.items()
        for first in range(0, number, AT_ONCE[table])
    ]


def seed_tables(shape: Shape, settings: Settings, last_minute: int, processes: int) -> dict[str, Any]:
    """Write all tables. Returns how many rows each got, and the seconds that each took of a process."""
    session = connect(settings.cassandra)
    rows = dict.fromkeys(INSERTS, 0)
    seconds = dict.fromkeys(INSERTS, 0.0)
    try:
        _durable_writes(session, settings, is_on=False)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=_open, initargs=(settings,)) as pool:
            for table, written, took_s in pool.map(_write, tasks(shape, last_minute)):
                rows[table] += written
                seconds[table] += took_s
        _durable_writes(session, settings, is_on=True)
        settled_s = _settle(session)
    finally:
        session.cluster.shutdown()
    return {
        "rows": rows,
        "process_seconds": {name: round(of, 1) for name, of in seconds.items()},
        "compaction_s": round(settled_s, 1),
    }


def seed_history(shape: Shape, settings: Settings, now: datetime) -> None:
    """Write the Parquet files and the manifest, and say in the register that the tables have them."""
    token = seeded_history.token_at(now)
    shards = settings.counting.shards
    store = HistoryStore(filesystem(settings.s3), settings.history.path)
    for path, hours, _, numbers in seeded_history.files(shape, shards, token):
        store.put(path, seeded_history.table_of_hours(numbers, hours))
    name = manifest_name(token, seeded_history.ATTEMPT)
    store.put_manifest(name, seeded_history.manifest_of(shape, shards, token, token // 1000))
    session = connect(settings.cassandra)
    try:
        registers = CassandraRegisters(session)
        before = registers.read()
        if before is None:
            raise RuntimeError("this keyspace has no register of history: the stack makes it when it starts")
        after = msgspec.structs.replace(
            before, token=token, holder="", manifest=name, applied=seeded_history.applied_of(shape, token)
        )
        if not registers.swap(before, after):
            raise RuntimeError("somebody else has changed the register of history meanwhile")
    finally:
        session.cluster.shutdown()


def beat(session: Session, shards: int, at: datetime) -> None:
    """Say that every shard has closed the minutes before this one, as an idle job does."""
    closed = at.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None)
    for shard in range(shards):
        session.execute(
            "INSERT INTO progress (pipeline, shard, shards, closed_through) VALUES (%s, %s, %s, %s)",
            (PIPELINE, shard, shards, closed),
        )


# --- in a process of the pool


class _Writer:
    """The session of this process, and the prepared statements."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.session = connect(settings.cassandra)
        self.session.client_protocol_handler = PackedProtocolHandler
        self.prepared = {table: self.session.prepare(text) for table, text in INSERTS.items()}


_writers: list[_Writer] = []


def _open(settings: Settings) -> None:
    _writers.append(_Writer(settings))


def _write(task: Task) -> tuple[str, int, float]:
    """(table, rows, seconds) of a task."""
    writer, began_s = _writers[0], time.monotonic()
    query_id = writer.prepared[task.table].query_id
    encoded = cql_rows.statements(query_id, _COLUMNS[task.table](task))
    rows_max = TOTALS_OF_A_BATCH if task.table == "totals" else ROWS_OF_A_PARTITION
    made = cql_rows.batches(encoded, query_id, rows_max=rows_max, key_values=KEY_VALUES[task.table])
    keyspace = writer.settings.cassandra.keyspace
    write_all(writer.session, [(PackedBatch(one, keyspace), None) for one in made], CONCURRENCY, task.table)
    return task.table, len(encoded), time.monotonic() - began_s


def _of_videos(numbers: Numbers, values: dict[str, cql_rows.Column]) -> dict[str, cql_rows.Column]:
    """The columns of all tables, and then those."""
    length = len(name_of(0))
    first, last = int(numbers[0]), int(numbers[-1])
    names = np.array([name_of(number).encode() for number in range(first, last + 1)], f"S{length}")
    return {"video_id": names[numbers - first], "kind": cql_rows.text_of_all(KIND, len(numbers)), **values}


def _counted(views: cql_rows.Column) -> dict[str, cql_rows.Column]:
    return {"views": cql_rows.numbers(views), "late_added": cql_rows.numbers(np.zeros(len(views), np.int64))}


def _totals(task: Task) -> dict[str, cql_rows.Column]:
    numbers = np.arange(task.first, task.end)
    through = np.full(len(numbers), task.shape.through.timestamp())
    return _of_videos(numbers, {**_counted(total_of(numbers)), "complete_through": cql_rows.times(through)})


def _days(task: Task) -> dict[str, cql_rows.Column]:
    shape = task.shape
    numbers = np.repeat(np.arange(task.first, task.end), shape.days)
    days = np.tile(np.arange(shape.first_day, shape.last_day + 1), task.end - task.first)
    ends = np.minimum((days + 1) * DAY_S, int(shape.through.timestamp()))
    complete = {"complete_through": cql_rows.times(ends)}
    return _of_videos(numbers, {"day": cql_rows.dates(days), **_counted(views_of(numbers, days)), **complete})


def _hours(task: Task) -> dict[str, cql_rows.Column]:
    of_one = np.arange(task.shape.first_hour, task.shape.through_hour)
    numbers, hours = np.repeat(np.arange(task.first, task.end), len(of_one)), np.tile(of_one, task.end - task.first)
    months = np.tile([_month(hour) for hour in of_one.tolist()], task.end - task.first)
    key = {"month": cql_rows.dates(months), "hour": cql_rows.times(hours * HOUR_S)}
    return _of_videos(numbers, {**key, **_counted(views_of(numbers, hours))})


def _minutes(task: Task) -> dict[str, cql_rows.Column]:
    by_video = [
        busy_minutes(number, task.shape.first_minute, task.last_minute) for number in range(task.first, task.end)
    ]
    numbers = np.repeat(np.arange(task.first, task.end), [len(one) for one in by_video])
    minutes = np.concatenate(by_video)
    key = {"day": cql_rows.dates(minutes * MINUTE_S // DAY_S), "minute": cql_rows.times(minutes * MINUTE_S)}
    return _of_videos(numbers, {**key, "views": cql_rows.numbers(views_of(numbers, minutes))})


_COLUMNS = {"totals": _totals, "days": _days, "hours": _hours, "minutes": _minutes}


def _month(hour: int) -> int:
    """The first day of an hour's month, both since 1970."""
    at = datetime.fromtimestamp(hour * HOUR_S, UTC)
    return (date(at.year, at.month, 1) - date(1970, 1, 1)).days


def _durable_writes(session: Session, settings: Settings, *, is_on: bool) -> None:
    session.execute(f"ALTER KEYSPACE {settings.cassandra.keyspace} WITH durable_writes = {str(is_on).lower()}")


def _settle(session: Session) -> float:
    """Wait until nothing is compacted any more, and return how long that took. Raises TimeoutError."""
    began_s = time.monotonic()
    while session.execute("SELECT task_id FROM system_views.sstable_tasks LIMIT 1").one() is not None:
        if time.monotonic() - began_s > SETTLED_WITHIN_S:
            raise TimeoutError(f"Cassandra was still compacting after {SETTLED_WITHIN_S:.0f} s")
        time.sleep(1)
    return time.monotonic() - began_s
