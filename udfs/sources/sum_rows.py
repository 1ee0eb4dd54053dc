"""Reads hours, days and totals from Cassandra, in whole ranges of the tables, for audits."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
from cassandra.cluster import Session

from settings.durations import DAY_MS
from udfs.logic.audit.sums import STORED_AMOUNTS, VIEW_TOTALS, VIEWS_BY_DAY, VIEWS_BY_HOUR
from udfs.logic.history.manifest import date_of, day_number, hour_start

ROWS_AT_ONCE = 5000
# By table, its partition key and its column of time, or "" if it has none.
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
        """Yield tables of schema STORED_AMOUNTS: rows of partitions in this range of tokens.

        Hours are those from `first_hour` on, days those from `first_day` on.
        """
        since: dict[str, tuple[datetime | date, ...]] = {
            VIEWS_BY_HOUR: (hour_start(first_hour),), VIEWS_BY_DAY: (date_of(first_day),), VIEW_TOTALS: (),
        }  # fmt: skip
        found: list[tuple[object, ...]] = []
        for row in self._session.execute(self._scans[table], (*tokens, *since[table])):
            video_id, kind, at, views, late_added, written = row
            # A row may have a day's viewers without its views.
            if views is not None:
                found.append((video_id, kind, _ms(at), views, late_added or 0, written))
            if len(found) == ROWS_AT_ONCE:
                yield _table(found)
                found = []
        if found:
            yield _table(found)


def _scan(key: str, time: str, table: str) -> str:
    # A table without a time repeats `views` there, so that all rows have six values.
    when, since = (time, f" AND {time} >= ? ALLOW FILTERING") if time else ("views", "")
    return (
        f"SELECT video_id, kind, {when} AS at, views, late_added, writetime(views) AS written FROM {table} "
        f"WHERE token({key}) >= ? AND token({key}) <= ?{since}"
    )


def _ms(at: object) -> int:
    """Return a time or a date in ms since 1970, or 0 for a number."""
    if isinstance(at, datetime):
        return round(at.replace(tzinfo=UTC).timestamp() * 1000)
    if isinstance(at, int):
        return 0
    # The driver has its own class for dates.
    return day_number(at if isinstance(at, date) else at.date()) * DAY_MS  # type: ignore[attr-defined]


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = map(list, zip(*rows, strict=True))
    return pa.table(dict(zip(STORED_AMOUNTS.names, columns, strict=True)), schema=STORED_AMOUNTS)
