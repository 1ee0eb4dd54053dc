"""Writes counts, tallies, progress and lists to Cassandra. A call returns only when every write is acknowledged.

Values are absolute, and a larger value has a higher write timestamp. So after any repeats, in any order, from any
writer, the larger value stays. Therefore every write that fails is tried again, as long as it takes: a Cassandra that
is away, or refuses a row, causes back-pressure and no error (docs/decisions/0008). Only lists, which counting does not
need, may be set aside (docs/decisions/0032).
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cassandra.cluster import Session
from cassandra.query import BoundStatement, PreparedStatement

from connectors.acknowledged import prepare_however_long, write_all
from connectors.figures import WriteFigures
from schemas.ledger import LEDGER_COLUMNS
from settings import CassandraSettings
from settings.durations import HOUR_MS, MINUTE_MS
from udfs.logic.outgoing.cql_rows import pack_inserts
from udfs.sinks.optional_rows import OptionalRows, Write
from udfs.sinks.packed_batch import PackedBatch, PackedProtocolHandler

_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")

_COUNT = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
_LEDGER = (
    f"INSERT INTO ledger (minute, salt, {', '.join(LEDGER_COLUMNS)}) "
    f"VALUES (?, ?, {', '.join('?' * len(LEDGER_COLUMNS))}) USING TIMESTAMP ?"
)
_RECEIVED, _RECORDS = (LEDGER_COLUMNS.index(name) for name in ("received", "records"))
# In metrics and logs.
LISTS = "top_videos"
_PROGRESS = "INSERT INTO progress (pipeline, shard, shards, closed_through) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_TOP = "INSERT INTO top_videos (kind, span, hour, minute, shard, videos) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"


class TopList(NamedTuple):
    """The first videos of a kind in a span that ends with an epoch minute; names are UTF-8.

    For one shard, span and minute, `events` must only grow, because the list with more events stays.
    """

    kind: bytes
    span: str
    minute: int
    events: int
    # (video_id, views, views of the span before)
    videos: Sequence[tuple[bytes, int, int]]


class CountWriter:
    """Writes through one session, which it does not own."""

    def __init__(
        self,
        session: Session,
        settings: CassandraSettings,
        pipeline: str,
        shards: int,
        figures: WriteFigures | None = None,
    ) -> None:
        self._session = session
        self._settings = settings
        self._pipeline = pipeline
        self._shards = shards
        self._figures = figures or WriteFigures()
        session.client_protocol_handler = PackedProtocolHandler
        self._count = prepare_however_long(session, _COUNT)
        self._ledger = prepare_however_long(session, _LEDGER)
        self._progress = prepare_however_long(session, _PROGRESS)
        self._top = OptionalRows(session, LISTS, _TOP, _list_writes, self._figures, settings.concurrency)

    def counts(self, dated_rows: bytes) -> None:
        """Write absolute counts: dated rows of udfs.logic.minutes.cells, of any minutes in any order."""
        batches = pack_inserts(
            dated_rows,
            self._count.query_id,
            rows_max=self._settings.batch_rows_max,
            partitions_max=self._settings.batch_partitions_max,
            bytes_max=self._settings.batch_bytes_max,
        )
        self._write("views_by_minute", [(PackedBatch(inserts, self._settings.keyspace), None) for inserts in batches])

    def ledger(self, tallies: Sequence[tuple[int, ...]]) -> None:
        """Write tallies: salt, epoch minute, then the columns of the table from `received` on, in their order."""
        rows = []
        for salt, minute, *columns in tallies:
            start_ms = minute * MINUTE_MS
            # Received events and records only grow within a minute, so the later tally has the larger timestamp.
            grown = columns[_RECEIVED] + columns[_RECORDS]
            rows.append((self._ledger, (start_ms, salt, *columns, start_ms * 1000 + grown)))
        self._write("ledger", rows)

    def top(self, shard: int, lists: Iterable[TopList]) -> None:
        """Write a shard's lists. Those that Cassandra refuses are set aside."""
        left = self._top.write([(shard, top) for top in lists])
        # They need not be kept: the next ranking makes newer ones.
        self._figures.note_set_aside(LISTS, len(left))

    def closed(self, shard: int, minute: int) -> None:
        """Write that the shard has closed every minute up to this one."""
        end_ms = (minute + 1) * MINUTE_MS
        self._write("progress", [(self._progress, (self._pipeline, shard, self._shards, end_ms, end_ms * 1000))])

    def _write(self, table: str, statements: Sequence[tuple[object, object]]) -> None:
        write_all(self._session, statements, self._settings.concurrency, table, self._figures)


def _list_writes(
    prepared: PreparedStatement, lists: Iterable[tuple[int, TopList]]
) -> Iterator[Write[tuple[int, TopList]]]:
    for shard, top in lists:
        # Encoding the values here takes a fraction of the driver's time.
        row = BoundStatement(prepared)
        *key, timestamp = top_key(shard, top)
        row.values = [*key, _videos(top.videos), timestamp]
        yield Write(row, None, [(shard, top)])


def top_key(shard: int, top: TopList) -> tuple[bytes, ...]:
    """Return a list's key (kind, span, hour, minute, shard) and its write timestamp, encoded as by the driver."""
    start_ms = top.minute * MINUTE_MS
    return (
        top.kind,
        top.span.encode(),
        _LONG.pack(start_ms // HOUR_MS * HOUR_MS),
        _LONG.pack(start_ms),
        _INT.pack(shard),
        _LONG.pack(start_ms * 1000 + top.events),
    )


def _videos(videos: Sequence[tuple[bytes, int, int]]) -> bytes:
    """Encode a list of tuples (text, bigint, bigint) (native protocol v5, sections 6.13 and 6.24)."""
    encoded = [_INT.pack(len(videos))]
    for video_id, views, before in videos:
        name = len(video_id)
        size = 4 + name + 2 * (4 + 8)
        encoded.append(struct.pack(f">ii{name}siqiq", size, name, video_id, 8, views, 8, before))
    return b"".join(encoded)
