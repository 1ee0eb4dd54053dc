"""After a restore, sets the rows of the tables to 0 that the restored history does not have.

Every row of the restored manifest has been written with its token. A row with an older write timestamp that is not 0
comes from a history that was lost.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from cassandra import InvalidRequest
from cassandra.cluster import Session
from cassandra.query import SimpleStatement

from udfs.logic.history import imports
from udfs.logic.history.channel_sums import CHANNELS
from udfs.logic.history.manifest import Manifest, day_number, hour_start
from udfs.logic.history.rollup_plan import day_through
from udfs.logic.history.tables import SUMS
from udfs.logic.history.video_kinds import KINDS
from udfs.sinks.history_rows import HistoryRows

log = logging.getLogger(__name__)

PAGE_ROWS = 5000
LISTS = "top_videos"
# By table, the key columns and the column of values.
TABLES = {
    "view_totals": (("video_id", "kind"), "views"),
    "views_by_day": (("video_id", "kind", "day"), "views"),
    "views_by_hour": (("video_id", "kind", "hour"), "views"),
    "imported_totals": (("video_id", "kind"), "views"),
    "imported_days": (("video_id", "kind", "day"), "views"),
    "video_kinds": (("video_id",), "kinds"),
    "imported_kinds": (("video_id",), "kinds"),
    "channel_views_by_hour": (("channel_id", "kind", "hour"), "views"),
    "top_videos_by_hour": (("kind", "country", "hour"), "videos"),
    "top_videos_by_day": (("kind", "country", "day"), "videos"),
}


def written_before(session: Session, table: str, token: int) -> Iterator[dict[str, Any]]:
    """Yield the keys of a table's rows that were written before a token and are neither 0 nor empty."""
    names, value = TABLES[table]
    text = f"SELECT {', '.join(names)}, {value}, writetime({value}) AS written FROM {table}"
    for row in session.execute(SimpleStatement(text, fetch_size=PAGE_ROWS)):
        if getattr(row, value) and row.written < token:
            yield {name: _plain(getattr(row, name)) for name in names}


def _of_optional(session: Session, table: str, token: int) -> list[dict[str, Any]]:
    """Return what `written_before` yields, but nothing for a table of top lists that cannot be read."""
    try:
        return list(written_before(session, table, token))
    except InvalidRequest as error:
        log.error("%s is left as it is, since Cassandra cannot read it: %.300s", table, error)  # noqa: TRY400
        return []


def put_to_zero(session: Session, rows: HistoryRows, manifest: Manifest, check: Callable[[], object]) -> int:
    """Set the rows that were written before the manifest's token to 0, and lists to empty. Return how many they were.

    This concerns the tables in TABLES. A table of lists that cannot be read is left as it is. `check` is called before
    each hour or day, and raises if the work must stop.
    """
    found: dict[tuple[str, Any], list[dict[str, Any]]] = defaultdict(list)
    for table in TABLES:
        read = _of_optional if table.startswith(LISTS) else written_before
        for row in read(session, table, manifest.token):
            found[table, row.get("hour", row.get("day"))].append(row)
    for (table, at), gone in found.items():
        check()
        lists = [(row["kind"], row["country"]) for row in gone] if table.startswith(LISTS) else []
        match table:
            case "view_totals":
                rows.totals(_zeros(gone, SUMS), hour_start(manifest.through_hour))
            case "views_by_day":
                rows.days(_zeros(gone, SUMS), at, day_through(manifest, day_number(at)))
            case "views_by_hour":
                rows.hours(_zeros(gone, SUMS), at)
            case "imported_totals":
                rows.imported_totals(_zeros(gone, imports.TOTALS))
            case "imported_days":
                rows.imported_days(_zeros(gone, imports.DAYS))
            case "video_kinds":
                rows.kinds(_no_kinds(gone))
            case "imported_kinds":
                rows.imported_kinds(_no_kinds(gone))
            case "channel_views_by_hour":
                rows.channels(_zeros(gone, CHANNELS), at)
            case "top_videos_by_hour":
                rows.lists_gone(lists, at)
            case _:
                rows.day_lists_gone(lists, at, day_through(manifest, day_number(at)))
    return sum(map(len, found.values()))


def _plain(value: Any) -> Any:
    """Return a driver's value as a time with its zone, a date or a text."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return value.date() if not isinstance(value, str | date) and hasattr(value, "date") else value


def _zeros(gone: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    zeros = {name: 0 for name in ("views", "late_added") if name in schema.names}
    return pa.Table.from_pylist([{**row, **zeros} for row in gone], schema)


def _no_kinds(gone: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{**row, "kinds": "", "left_out": 0} for row in gone], KINDS)
