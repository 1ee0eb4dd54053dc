"""Writes history to Cassandra's tables, as absolute rows, which may be written again by any process.

Lists are not needed for counting, so they may be set aside (docs/decisions/0032). All other rows are always written.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import NamedTuple

import pyarrow as pa
from cassandra.cluster import Session
from cassandra.query import PreparedStatement

from connectors.acknowledged import connect_however_long, prepare_however_long, write_all
from connectors.figures import WriteFigures
from settings import CassandraSettings
from udfs.logic.outgoing.cql_columns import pack_columns
from udfs.sinks.optional_rows import OptionalRows, Write
from udfs.sinks.packed_batch import PackedBatch, PackedProtocolHandler

# So many rows that the driver encodes are written at once. There are few of them.
CONCURRENCY = 128
_Values = tuple[object, ...]


class _Insert(NamedTuple):
    table: str
    prepared: PreparedStatement


class HistoryRows:
    """Writes on its own session. Each call returns when all rows are written, however long Cassandra is away.

    Every row has the write timestamp `token`, in µs: the token of its manifest, or of the lease of a repair. So a row
    that is written late, or by a process that has lost its lease, never replaces a newer one. Each row is in another
    partition, so a CQL batch has as many rows as it may have partitions.
    """

    def __init__(self, settings: CassandraSettings, token: int) -> None:
        self._settings = settings
        self.figures = WriteFigures()
        self._session = connect_however_long(settings)
        self._session.client_protocol_handler = PackedProtocolHandler
        self._session.timestamp_generator = lambda: token
        # In each statement, the columns of the partition key come first.
        self._hour = self._prepare("views_by_hour (video_id, kind, month, hour, views, late_added)")
        self._day = self._prepare("views_by_day (video_id, kind, day, complete_through, views, late_added)")
        self._total = self._prepare("view_totals (video_id, kind, complete_through, views, late_added)")
        self._viewers = self._prepare("views_by_day (video_id, kind, day, viewers, marked)")
        self._channel = self._prepare("channel_views_by_hour (channel_id, kind, month, hour, views, late_added)")
        self._change = self._prepare("day_history (day, run, at, reason, rules, video_id, kind, views, marked)")
        self._imported_total = self._prepare("imported_totals (video_id, kind, views)")
        self._imported_day = self._prepare("imported_days (video_id, kind, day, views)")
        self._kinds = self._prepare("video_kinds (video_id, kinds, left_out)")
        self._imported_kinds = self._prepare("imported_kinds (video_id, kinds, left_out)")
        self._top_of_hour = self._optional("top_videos_by_hour", "month, hour, kind, country, videos")
        self._top_of_day = self._optional("top_videos_by_day", "day, complete_through, kind, country, videos")

    def hours(self, table: pa.Table, hour: datetime) -> None:
        """Write the rows of one hour."""
        self._pack(self._hour, table, ("video_id", "kind"), _of_hour(hour), ("views", "late_added"), key_values=3)

    def days(self, table: pa.Table, day: date, complete_through: datetime) -> None:
        """Write the rows of one day, as far as it is complete."""
        between = day, complete_through
        self._pack(self._day, table, ("video_id", "kind"), between, ("views", "late_added"), key_values=2)

    def totals(self, table: pa.Table, complete_through: datetime) -> None:
        """Write the rows of all time."""
        between = (complete_through,)
        self._pack(self._total, table, ("video_id", "kind"), between, ("views", "late_added"), key_values=2)

    def viewers(self, table: pa.Table, day: date) -> None:
        """Write the numbers of viewers and of marked views of a day, into the rows of its views."""
        self._pack(self._viewers, table, ("video_id", "kind"), (day,), ("viewers", "marked"), key_values=2)

    def changes(self, table: pa.Table, day: date, run: int, at: datetime, reason: str, rules: str) -> None:
        """Write how a run has changed a day's numbers, and why. The run is in the key, so a repeat adds no row."""
        rows = zip(*(table[name].to_pylist() for name in ("video_id", "kind", "views", "marked")), strict=True)
        self._write(self._change, ((day, run, at, reason, rules, *row) for row in rows))

    def kinds(self, table: pa.Table) -> None:
        """Write the kinds of videos, of schema KINDS of udfs.logic.history.video_kinds."""
        self._pack(self._kinds, table, ("video_id", "kinds"), (), ("left_out",), key_values=1)

    def imported_kinds(self, table: pa.Table) -> None:
        """Write the imported kinds of videos, of the same schema."""
        self._pack(self._imported_kinds, table, ("video_id", "kinds"), (), ("left_out",), key_values=1)

    def imported_totals(self, table: pa.Table) -> None:
        """Write what was imported of all time, of schema TOTALS of udfs.logic.history.imports."""
        self._pack(self._imported_total, table, ("video_id", "kind"), (), ("views",), key_values=2)

    def imported_days(self, table: pa.Table) -> None:
        """Write what was imported by day, of schema DAYS of udfs.logic.history.imports."""
        self._pack(self._imported_day, table, ("video_id", "kind", "day"), (), ("views",), key_values=2)

    def channels(self, table: pa.Table, hour: datetime) -> None:
        """Write the channels of one hour."""
        self._pack(self._channel, table, ("channel_id", "kind"), _of_hour(hour), ("views", "late_added"), key_values=3)

    def top_of_hour(self, table: pa.Table, hour: datetime) -> None:
        """Write the lists of one hour."""
        self._write_lists(self._top_of_hour, _lists(table, *_of_hour(hour)))

    def top_of_day(self, table: pa.Table, day: date, complete_through: datetime) -> None:
        """Write the lists of one day, as far as it is complete."""
        self._write_lists(self._top_of_day, _lists(table, day, complete_through))

    def lists_gone(self, names: Iterable[tuple[str, str]], hour: datetime) -> None:
        """Replace the lists of these (kind, country) of an hour by empty ones."""
        self._write_lists(self._top_of_hour, ((*_of_hour(hour), kind, country, []) for kind, country in names))

    def day_lists_gone(self, names: Iterable[tuple[str, str]], day: date, complete_through: datetime) -> None:
        """Replace the lists of these (kind, country) of a day by empty ones."""
        self._write_lists(self._top_of_day, ((day, complete_through, kind, country, []) for kind, country in names))

    @property
    def session(self) -> Session:
        """The session that writes the rows."""
        return self._session

    def close(self) -> None:
        """End the session."""
        self._session.cluster.shutdown()

    def _prepare(self, into: str) -> _Insert:
        return _Insert(into.split(maxsplit=1)[0], prepare_however_long(self._session, _insert(into)))

    def _optional(self, table: str, columns: str) -> OptionalRows[_Values]:
        return OptionalRows(
            self._session, table, _insert(f"{table} ({columns})"), _list_writes, self.figures, CONCURRENCY
        )

    def _pack(
        self,
        insert: _Insert,
        table: pa.Table,
        names: Sequence[str],
        between: Sequence[date],
        counts: Sequence[str],
        *,
        key_values: int,
    ) -> None:
        """Write rows: first the columns `names`, then `between`, which are the same for all rows, then `counts`."""
        same = [pa.repeat(_scalar(value), table.num_rows) for value in between]
        columns = [*table.select(names).columns, *same, *table.select(counts).columns]
        rows_max = self._settings.batch_partitions_max
        inserts = pack_columns(
            columns,
            insert.prepared.query_id,
            key_values=key_values,
            rows_max=rows_max,
            bytes_max=self._settings.batch_bytes_max,
        )
        batches = [(PackedBatch(one, self._settings.keyspace), None) for one in inserts]
        write_all(self._session, batches, self._settings.concurrency, insert.table, self.figures)

    def _write(self, insert: _Insert, rows: Iterable[_Values]) -> None:
        write_all(self._session, [(insert.prepared, row) for row in rows], CONCURRENCY, insert.table, self.figures)

    def _write_lists(self, lists: OptionalRows[_Values], rows: Iterable[_Values]) -> None:
        left = lists.write(list(rows))
        self.figures.note_set_aside(lists.name, len(left))


def _insert(into: str) -> str:
    return f"INSERT INTO {into} VALUES ({', '.join('?' * (into.count(',') + 1))})"


def _list_writes(prepared: PreparedStatement, rows: Iterable[_Values]) -> Iterator[Write[_Values]]:
    return (Write(prepared, row, [row]) for row in rows)


def _scalar(value: date) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("ms", "UTC") if isinstance(value, datetime) else pa.date32())


def _of_hour(hour: datetime) -> tuple[date, datetime]:
    """Return (the hour's month, the hour)."""
    return hour.date().replace(day=1), hour


def _lists(tops: pa.Table, *first: object) -> Iterator[tuple[object, ...]]:
    """Yield a row for each list of a table of udfs.logic.history.top_lists."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for row in tops.to_pylist():
        found.setdefault((row["kind"], row["country"]), []).append((row["video_id"], row["views"]))
    return ((*first, *name, videos) for name, videos in found.items())
