"""Hours, days and totals as they stand in Cassandra: whole ranges of the tables, for audits."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
from cassandra.cluster import Session

from settings.durations import DAY_MS
from udfs.logic.audit.sums import STORED_AMOUNTS, VIEW_TOTALS, VIEWS_BY_DAY, VIEWS_BY_HOUR
from udfs.logic.history.manifest import date_of, day_number, hour_start

ROWS_AT_ONCE = 5000
# By table: its partition key, the column that says when, "" where none does.
_TABLES = {
    VIEWS_BY_HOUR: ("video_id, kind, month", "hour"),
    VIEWS_BY_DAY: ("video_id, kind", "day"),
    VIEW_TOTALS: ("video_id, kind", ""),
}


class SumRows:
    """Reads through one session, which it does not own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scans = {table: session.prepare(_scan(*of, table)) for table, of in _TABLES.items()}
        for scan in self._scans.values():
            scan.fetch_size = ROWS_AT_ONCE

    def read(self, table: str, tokens: tuple[int, int], first_hour: int, first_day: int) -> Iterator[pa.Table]:
        """Tables of STORED_AMOUNTS: rows whose partitions lie in the range, of hours and days from these on."""
        since: dict[str, tuple[datetime | date, ...]] = {
            VIEWS_BY_HOUR: (hour_start(first_hour),), VIEWS_BY_DAY: (date_of(first_day),), VIEW_TOTALS: (),
        }  # fmt: skip
        found: list[tuple[object, ...]] = []
        for row in self._session.execute(self._scans[table], (*tokens, *since[table])):
            video_id, kind, at, views, late_added, written = row
            # A day's viewers may be there without its views.
            if views is not None:
                found.append((video_id, kind, _ms(at), views, late_added or 0, written))
            if len(found) == ROWS_AT_ONCE:
                yield _table(found)
                found = []
        if found:
            yield _table(found)


def _scan(key: str, time: str, table: str) -> str:
    # Something in place of the time, so that all rows have six values.
    when, since = (time, f" AND {time} >= ? ALLOW FILTERING") if time else ("views", "")
    return (
        f"SELECT video_id, kind, {when} AS at, views, late_added, writetime(views) AS written FROM {table} "
        f"WHERE token({key}) >= ? AND token({key}) <= ?{since}"
    )


def _ms(at: object) -> int:
    """In ms since 1970; 0 where it is no time."""
    if isinstance(at, datetime):
        return round(at.replace(tzinfo=UTC).timestamp() * 1000)
    if isinstance(at, int):
        return 0
    # The driver has a Date of its own.
    return day_number(at if isinstance(at, date) else at.date()) * DAY_MS  # type: ignore[attr-defined]


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = map(list, zip(*rows, strict=True))
    return pa.table(dict(zip(STORED_AMOUNTS.names, columns, strict=True)), schema=STORED_AMOUNTS)
