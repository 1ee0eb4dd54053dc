"""What a rollup made, to Cassandra: absolute rows, each of which may be written again."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from settings import CassandraSettings
from udfs.sinks.acknowledged import connect_however_long, prepare_however_long, write_all

CONCURRENCY = 128
ROWS_AT_ONCE = 20_000
_SUMS = ("video_id", "kind", "views", "late_added")


class HistoryRows:
    """One session. Returns from a call when all of its rows are written, however long Cassandra is away."""

    def __init__(self, settings: CassandraSettings) -> None:
        self._session = connect_however_long(settings)
        self._hour = prepare_however_long(
            self._session,
            "INSERT INTO views_by_hour (month, hour, video_id, kind, views, late_added) VALUES (?, ?, ?, ?, ?, ?)",
        )
        self._day = prepare_however_long(
            self._session,
            "INSERT INTO views_by_day (day, complete_through, video_id, kind, views, late_added) "
            "VALUES (?, ?, ?, ?, ?, ?)",
        )
        self._total = prepare_however_long(
            self._session,
            "INSERT INTO view_totals (complete_through, video_id, kind, views, late_added) VALUES (?, ?, ?, ?, ?)",
        )

        self._viewers = prepare_however_long(
            self._session, "INSERT INTO views_by_day (day, video_id, kind, viewers, marked) VALUES (?, ?, ?, ?, ?)"
        )
        self._change = prepare_however_long(
            self._session,
            "INSERT INTO day_history (day, run, at, reason, rules, video_id, kind, views, marked) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        self._channel = prepare_however_long(
            self._session,
            "INSERT INTO channel_views_by_hour (month, hour, channel_id, kind, views, late_added) "
            "VALUES (?, ?, ?, ?, ?, ?)",
        )
        self._top_of_hour = prepare_however_long(
            self._session,
            "INSERT INTO top_videos_by_hour (month, hour, kind, country, videos) VALUES (?, ?, ?, ?, ?)",
        )
        self._top_of_day = prepare_however_long(
            self._session,
            "INSERT INTO top_videos_by_day (day, complete_through, kind, country, videos) VALUES (?, ?, ?, ?, ?)",
        )

    def hours(self, table: pa.Table, hour: datetime) -> None:
        """Rows of one hour."""
        self._write(self._hour, _rows(table, _SUMS, *_of_hour(hour)))

    def days(self, table: pa.Table, day: date, complete_through: datetime) -> None:
        """Rows of one day, as far as it is complete."""
        self._write(self._day, _rows(table, _SUMS, day, complete_through))

    def totals(self, table: pa.Table, complete_through: datetime) -> None:
        """Rows of all time."""
        self._write(self._total, _rows(table, _SUMS, complete_through))

    def viewers(self, table: pa.Table, day: date) -> None:
        """How many viewers there were on a day, and how many views are marked, beside its views."""
        self._write(self._viewers, _rows(table, ("video_id", "kind", "viewers", "marked"), day))

    def changes(self, table: pa.Table, day: date, run: int, reason: str, rules: str) -> None:
        """What became of a day's numbers in a run, and why. By its run, so that an attempt made again adds no row."""
        now = datetime.now(UTC)
        self._write(self._change, _rows(table, ("video_id", "kind", "views", "marked"), day, run, now, reason, rules))

    def channels(self, table: pa.Table, hour: datetime) -> None:
        """Channels of one hour."""
        self._write(self._channel, _rows(table, ("channel_id", "kind", "views", "late_added"), *_of_hour(hour)))

    def top_of_hour(self, table: pa.Table, hour: datetime) -> None:
        """The lists of one hour."""
        self._write(self._top_of_hour, _lists(table, *_of_hour(hour)))

    def top_of_day(self, table: pa.Table, day: date, complete_through: datetime) -> None:
        """The lists of one day, as far as it is complete."""
        self._write(self._top_of_day, _lists(table, day, complete_through))

    def _write(self, statement: Any, rows: Iterator[tuple[object, ...]]) -> None:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            write_all(self._session, [(statement, row) for row in some], CONCURRENCY)


def _of_hour(hour: datetime) -> tuple[date, datetime]:
    """The month that it lies in, and itself."""
    return hour.date().replace(day=1), hour


def _rows(table: pa.Table, names: Sequence[str], *first: object) -> Iterator[tuple[object, ...]]:
    for batch in table.select(list(names)).to_batches(max_chunksize=ROWS_AT_ONCE):
        columns = (column.to_pylist() for column in batch.columns)
        yield from ((*first, *row) for row in zip(*columns, strict=True))


def _lists(tops: pa.Table, *first: object) -> Iterator[tuple[object, ...]]:
    """A row for each list of a table of udfs.logic.top_lists."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for row in tops.to_pylist():
        found.setdefault((row["kind"], row["country"]), []).append((row["video_id"], row["views"]))
    return ((*first, *name, videos) for name, videos in found.items())
