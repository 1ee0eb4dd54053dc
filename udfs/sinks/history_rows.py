"""Hours, days and totals to Cassandra: absolute rows, each of which may be written again."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from settings import CassandraSettings
from udfs.sinks.acknowledged import connect_however_long, prepare_however_long, write_all

CONCURRENCY = 128
ROWS_AT_ONCE = 20_000


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

    def hours(self, table: pa.Table, hour: datetime) -> None:
        """Rows of one hour."""
        self._write(self._hour, (hour.date().replace(day=1), hour), table)

    def days(self, table: pa.Table, day: date, complete_through: datetime) -> None:
        """Rows of one day, as far as it is complete."""
        self._write(self._day, (day, complete_through), table)

    def totals(self, table: pa.Table, complete_through: datetime) -> None:
        """Rows of all time."""
        self._write(self._total, (complete_through,), table)

    def _write(self, statement: Any, first: Sequence[object], table: pa.Table) -> None:
        for at in range(0, table.num_rows, ROWS_AT_ONCE):
            part = table.slice(at, ROWS_AT_ONCE)
            write_all(self._session, [(statement, row) for row in _rows(first, part)], CONCURRENCY)


def _rows(first: Sequence[object], table: pa.Table) -> Iterator[tuple[object, ...]]:
    columns = (table[name].to_pylist() for name in ("video_id", "kind", "views", "late_added"))
    return ((*first, *row) for row in zip(*columns, strict=True))
