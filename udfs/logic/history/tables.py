"""The tables of history, from what slices counted: minutes, hours, days, totals and countries of one shard. Pure.

Each row has `views`, all that count, and `late_added`, those of them that came after their minute had closed. Rows are
sorted by video, so that a reader finds one by few row groups.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from settings.durations import HOUR_MS, MINUTE_MS

TIME = pa.timestamp("ms", "UTC")
_COUNTS = {"views": pa.int64(), "late_added": pa.int64()}
_NAMES = {"video_id": pa.string(), "kind": pa.string()}
MINUTES = pa.schema({**_NAMES, "minute": TIME, **_COUNTS})
HOURS = pa.schema({**_NAMES, "hour": TIME, **_COUNTS})
# Of a day and of all time: the file's place says which.
SUMS = pa.schema({**_NAMES, **_COUNTS})
COUNTRIES = pa.schema({**_NAMES, "country": pa.string(), "views": pa.int64()})


def minutes(cells: Sequence[pa.Table]) -> pa.Table:
    """One hour of minutes, from all slices' cells of it."""
    table = _concatenated(cells, ("video_id", "kind", "minute", "views", "late_added"))
    if table is None:
        return MINUTES.empty_table()
    at = pc.multiply(table["minute"], MINUTE_MS).cast(TIME)
    views = pc.add(table["views"], table["late_added"])
    table = table.set_column(2, "minute", at).set_column(3, "views", views)
    return summed(table, ["video_id", "kind", "minute"], MINUTES)


def hour(of_minutes: pa.Table, hour_ms: int) -> pa.Table:
    """One hour, from its minutes."""
    table = summed(of_minutes.drop_columns(["minute"]), ["video_id", "kind"], SUMS)
    return with_hour(table, hour_ms).select(HOURS.names)


def day(of_hours: Sequence[pa.Table]) -> pa.Table:
    """One day, from its hours."""
    table = _concatenated(of_hours, SUMS.names)
    return SUMS.empty_table() if table is None else summed(table, ["video_id", "kind"], SUMS)


def totals(before: pa.Table, old_hours: Sequence[pa.Table], new_hours: Sequence[pa.Table]) -> pa.Table:
    """All time: what it was before, with some hours replaced."""
    parts = [
        before,
        *(_negative(one.select(SUMS.names)) for one in old_hours),
        *(one.select(SUMS.names) for one in new_hours),
    ]
    return summed(pa.concat_tables(parts), ["video_id", "kind"], SUMS)


def countries(tables: Sequence[pa.Table]) -> pa.Table:
    """One hour or one day by country ("" for unknown), from all slices' countries of it, or from its hours."""
    table = _concatenated(tables, COUNTRIES.names)
    keys = ["video_id", "kind", "country"]
    return COUNTRIES.empty_table() if table is None else summed(table, keys, COUNTRIES)


def unknown_countries(cells: pa.Table) -> pa.Table:
    """A slice's countries, of one that says none: all views of its cells are from no known one."""
    views = pc.add(cells["views"], cells["late_added"])
    unknown = pa.repeat(pa.scalar(""), cells.num_rows)
    return pa.table([cells["video_id"], cells["kind"], unknown, views], schema=COUNTRIES)


def of_videos_in(table: pa.Table, those: Sequence[pa.Table]) -> pa.Table:
    """The rows of a table whose video and kind are in one of those."""
    names = ["video_id", "kind"]
    wanted = _concatenated(those, names)
    if wanted is None:
        return table.slice(0, 0)
    return table.join(wanted.group_by(names).aggregate([]), names, join_type="left semi").sort_by(
        [(name, "ascending") for name in names]
    )


def of_hour(table: pa.Table, hour: int) -> pa.Table:
    """The rows of one hour since 1970, of a table of minutes or hours that may have others."""
    column = "minute" if "minute" in table.schema.names else "hour"
    at = pc.floor(pc.divide(table[column].cast(pa.int64()), HOUR_MS))
    return table.filter(pc.equal(at, hour))


def with_hour(table: pa.Table, hour_ms: int) -> pa.Table:
    """A table of what has no time of its own, with this `hour` as its last column."""
    at = pa.array([hour_ms], pa.int64()).cast(TIME)
    return table.append_column("hour", pa.repeat(at[0], table.num_rows))


def whole_day(hours: Sequence[pa.Table]) -> pa.Table:
    """The hours of a day in one table, sorted by video (or by what comes first) and then by time."""
    table = pa.concat_tables(hours)
    names = [name for name in table.schema.names if pa.types.is_string(table.schema.field(name).type)]
    times = [name for name in ("minute", "hour", "rank") if name in table.schema.names]
    return table.sort_by([(name, "ascending") for name in (*names, *times)])


def summed(table: pa.Table, keys: list[str], schema: pa.Schema) -> pa.Table:
    """A table of this schema, with one row for each of the keys, sorted by them: its counts are sums."""
    counts = [name for name in _COUNTS if name in schema.names]
    found = table.group_by(keys).aggregate([(name, "sum") for name in counts])
    found = found.select([*keys, *(f"{name}_sum" for name in counts)]).rename_columns([*keys, *counts])
    return found.select(schema.names).sort_by([(name, "ascending") for name in keys])


def _negative(table: pa.Table) -> pa.Table:
    for at, name in enumerate(_COUNTS, len(_NAMES)):
        table = table.set_column(at, name, pc.negate(table[name]))
    return table


def _concatenated(tables: Sequence[pa.Table], names: Sequence[str]) -> pa.Table | None:
    return pa.concat_tables([table.select(names) for table in tables]) if tables else None
