"""Writes counts, tallies and progress to Cassandra; returns only when every write is acknowledged.

Values are absolute and carry their own write timestamp, which only grows with the value, so that any repeat, in any
order, from any writer, leaves the larger one. Hence every failure is tried again for as long as it takes: an absent
Cassandra, or one whose tables refuse a row, is back-pressure, not an error (docs/decisions/0008). Knows no Flink.
"""

import logging
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tenacity
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement, BatchType, BoundStatement

from settings import CassandraSettings

log = logging.getLogger(__name__)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MINUTES_PER_DAY = 1440
# A date in CQL is the days since 1970 plus 2**31 (native protocol v5, section 6.7).
_EPOCH_DATE = 1 << 31
_DATE = struct.Struct(">I")
_LONG = struct.Struct(">q")

_COUNT = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
_LEDGER = (
    "INSERT INTO ledger (minute, salt, received, counted, duplicate, late, invalid, blocked, dead_lettered, records, "
    "unreadable_records) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_PROGRESS = "INSERT INTO progress (pipeline, shard, shards, closed_through) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_TOP = "INSERT INTO top_videos (kind, span, hour, minute, shard, videos) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"


class TopList(NamedTuple):
    """The first videos of a kind in a span that ends with an epoch minute; names in UTF-8.

    `events` must only grow for one shard, span and minute: the list of more events stays.
    """

    kind: bytes
    span: str
    minute: int
    events: int
    # (video_id, views, views of the span before)
    videos: Sequence[tuple[bytes, int, int]]


class CountWriter:
    """Writes through one session, which it does not own."""

    def __init__(self, session: Session, settings: CassandraSettings, pipeline: str, shards: int) -> None:
        self._session = session
        self._settings = settings
        self._pipeline = pipeline
        self._shards = shards
        self._count = session.prepare(_COUNT)
        self._ledger = session.prepare(_LEDGER)
        self._top = session.prepare(_TOP)
        self._progress = session.prepare(_PROGRESS)

    def counts(self, cells: Sequence[tuple[bytes, bytes, int, int]]) -> None:
        """Write (video_id, kind, epoch minute, views) cells, the names in UTF-8.

        In the order given: neighbours of one partition (video, kind, day) become one write.
        """
        rows_max, partitions_max = self._settings.batch_rows_max, self._settings.batch_partitions_max
        batches: list[tuple[BatchStatement, None]] = []
        rows = partitions = 0
        last = None
        for video_id, kind, minute, views in cells:
            partition = video_id, kind, minute // MINUTES_PER_DAY
            partitions += partition != last
            last = partition
            if not batches or rows == rows_max or partitions > partitions_max:
                batch = BatchStatement(BatchType.UNLOGGED)
                batches.append((batch, None))
                rows, partitions = 0, 1
            rows += 1
            row = BoundStatement(self._count)
            start_ms = minute * MINUTE_MS
            # As the driver itself would encode them; doing so at once takes a third of its time.
            row.values = [
                video_id,
                kind,
                _DATE.pack(_EPOCH_DATE + minute // MINUTES_PER_DAY),
                _LONG.pack(start_ms),
                _LONG.pack(views),
                _LONG.pack(start_ms * 1000 + views),
            ]
            batch.add(row)
        self._write(batches)

    def ledger(self, tallies: Sequence[tuple[int, ...]]) -> None:
        """Write tallies: salt, epoch minute, then the columns of the table from `received` on, in its order."""
        rows = []
        for salt, minute, *fates in tallies:
            start_ms = minute * MINUTE_MS
            # Received events and records only grow within a minute, so the later tally has the larger timestamp.
            rows.append((self._ledger, (start_ms, salt, *fates, start_ms * 1000 + fates[0] + fates[7])))
        self._write(rows)

    def top(self, shard: int, lists: Iterable[TopList]) -> None:
        """Write a shard's lists."""
        rows = []
        for top in lists:
            start_ms = top.minute * MINUTE_MS
            videos = [(video_id.decode(), views, before) for video_id, views, before in top.videos]
            hour_ms = start_ms // HOUR_MS * HOUR_MS
            timestamp = start_ms * 1000 + top.events
            rows.append((self._top, (top.kind.decode(), top.span, hour_ms, start_ms, shard, videos, timestamp)))
        self._write(rows)

    def closed(self, shard: int, minute: int) -> None:
        """Say that the shard has closed every minute through this one."""
        end_ms = (minute + 1) * MINUTE_MS
        self._write([(self._progress, (self._pipeline, shard, self._shards, end_ms, end_ms * 1000))])

    def _write(self, statements: Sequence[tuple[object, object]]) -> None:
        pending = statements

        @tenacity.retry(
            retry=tenacity.retry_if_exception_type((NoHostAvailable, DriverException)),
            wait=tenacity.wait_exponential(multiplier=0.1, max=5),
            before_sleep=lambda state: log.warning(
                "Cassandra did not acknowledge %d writes, trying again: %.200s",
                len(pending), state.outcome.exception() if state.outcome else "",
            ),
        )  # fmt: skip
        def attempt() -> None:
            nonlocal pending
            results = execute_concurrent(
                self._session, pending, concurrency=self._settings.concurrency, raise_on_first_error=False
            )
            failed = [(s, r.result_or_exc) for s, r in zip(pending, results, strict=True) if not r.success]
            pending = [statement for statement, _ in failed]
            if failed:
                raise failed[0][1]

        attempt()
