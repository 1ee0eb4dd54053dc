"""Makes the tables of one shard of history from the counts of slices: minutes to totals, countries and devices.

Each row has `views`, which are all that count, and `late_added`, which are those of them that came after their minute
had closed. Rows are sorted by video, so that a reader needs few row groups to find one.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from settings.durations import HOUR_MS, MINUTE_MS

TIME = pa.timestamp("ms", "UTC")
_COUNTS = {"views": pa.int64(), "late_added": pa.int64()}
_NAMES = {"video_id": pa.string(), "kind": pa.string()}
MINUTES = pa.schema({**_NAMES, "minute": TIME, **_COUNTS})
HOURS = pa.schema({**_NAMES, "hour": TIME, **_COUNTS})
# For a day and for all time. The file's path says which it is.
SUMS = pa.schema({**_NAMES, **_COUNTS})
COUNTRIES = pa.schema({**_NAMES, "country": pa.string(), "views": pa.int64()})
DEVICES = pa.schema({**_NAMES, "device": pa.string(), "views": pa.int64()})


def minutes(cells: Sequence[pa.Table]) -> pa.Table:
    """Return the minutes of one hour, of schema MINUTES, from the cells of all slices."""
    table = _concatenated(cells, ("video_id", "kind", "minute", "views", "late_added"))
    if table is None:
        return MINUTES.empty_table()
    at = pc.multiply(table["minute"], MINUTE_MS).cast(TIME)
    views = pc.add(table["views"], table["late_added"])
    table = table.set_column(2, "minute", at).set_column(3, "views", views)
    return summed(table, ["video_id", "kind", "minute"], MINUTES)


def hour(of_minutes: pa.Table, hour_ms: int) -> pa.Table:
    """Return one hour, of schema HOURS, from its minutes."""
    table = summed(of_minutes.drop_columns(["minute"]), ["video_id", "kind"], SUMS)
    return with_hour(table, hour_ms).select(HOURS.names)


def day(of_hours: Sequence[pa.Table]) -> pa.Table:
    """Return one day, of schema SUMS, from its hours."""
    table = _concatenated(of_hours, SUMS.names)
    return SUMS.empty_table() if table is None else summed(table, ["video_id", "kind"], SUMS)


def totals(before: pa.Table, old_hours: Sequence[pa.Table], new_hours: Sequence[pa.Table]) -> pa.Table:
    """Return the sums of all time, of schema SUMS, from those before, with some hours replaced."""
    parts = [
        before,
        *(negative(one.select(SUMS.names)) for one in old_hours),
        *(one.select(SUMS.names) for one in new_hours),
    ]
    return summed(pa.concat_tables(parts), ["video_id", "kind"], SUMS)


def countries(tables: Sequence[pa.Table]) -> pa.Table:
    """Return one hour or one day by country ("" for unknown), from the countries of all slices, or from its hours."""
    table = _concatenated(tables, COUNTRIES.names)
    keys = ["video_id", "kind", "country"]
    return COUNTRIES.empty_table() if table is None else summed(table, keys, COUNTRIES)


def unknown_countries(cells: pa.Table) -> pa.Table:
    """Return the countries of a slice that does not have any: all views of its cells are from an unknown country."""
    views = pc.add(cells["views"], cells["late_added"])
    unknown = pa.repeat(pa.scalar(""), cells.num_rows)
    return pa.table([cells["video_id"], cells["kind"], unknown, views], schema=COUNTRIES)


def changed_devices(added: Sequence[pa.Table], removed: Sequence[pa.Table]) -> pa.Table:
    """Return how views by known device change with slices, of schema DEVICES: some numbers of views may be negative.

    Given are the countries of the slices that are added and of those that are removed. Slices of code that did not
    count devices change nothing.
    """
    parts = [*_with_devices(added), *map(negative, _with_devices(removed))]
    return _by_device(parts).filter(pc.field("device") != "")


def devices(of_day: pa.Table, before: pa.Table, changes: Sequence[pa.Table]) -> pa.Table:
    """Return one day by device, of schema DEVICES: the day by device before, with changes (changed_devices).

    `of_day` is the day itself, of schema SUMS. Its views that are by no known device are by the device "". So the views
    by device always add up to the day, also if code that does not count devices counted a part of it. If such code even
    took views away, a video may have more views by known devices than in all. Nobody knows then which of them are
    wrong, and all views of the video are by "".
    """
    named = _by_device([before, *changes])
    named = named.filter((pc.field("device") != "") & (pc.field("views") > 0))
    rest = _rest(of_day, named)
    too_few = rest.filter(pc.field("views") < 0)
    if too_few.num_rows:
        named = named.join(too_few.select(list(_NAMES)), list(_NAMES), join_type="left anti")
        rest = _rest(of_day, named)
    return _by_device([named, rest.filter(pc.field("views") > 0)])


def of_videos_in(table: pa.Table, those: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of a table whose video and kind are in one of those tables."""
    names = ["video_id", "kind"]
    wanted = _concatenated(those, names)
    if wanted is None:
        return table.slice(0, 0)
    return table.join(wanted.group_by(names).aggregate([]), names, join_type="left semi").sort_by(
        [(name, "ascending") for name in names]
    )


def of_hour(table: pa.Table, hour: int) -> pa.Table:
    """Return the rows of one hour since 1970, from a table of minutes or hours that may have more hours."""
    column = "minute" if "minute" in table.schema.names else "hour"
    at = pc.floor(pc.divide(table[column].cast(pa.int64()), HOUR_MS))
    return table.filter(pc.equal(at, hour))


def with_hour(table: pa.Table, hour_ms: int) -> pa.Table:
    """Return the table with this `hour` as its last column."""
    at = pa.array([hour_ms], pa.int64()).cast(TIME)
    return table.append_column("hour", pa.repeat(at[0], table.num_rows))


def whole_day(hours: Sequence[pa.Table]) -> pa.Table:
    """Return the hours of a day in one table, sorted by its columns of text and then by time."""
    table = pa.concat_tables(hours)
    names = [name for name in table.schema.names if pa.types.is_string(table.schema.field(name).type)]
    times = [name for name in ("minute", "hour", "rank") if name in table.schema.names]
    return table.sort_by([(name, "ascending") for name in (*names, *times)])


def summed(table: pa.Table, keys: list[str], schema: pa.Schema) -> pa.Table:
    """Sum the counts by key. Return a table of this schema, with one row for each key, sorted by key."""
    counts = [name for name in _COUNTS if name in schema.names]
    found = table.group_by(keys).aggregate([(name, "sum") for name in counts])
    found = found.select([*keys, *(f"{name}_sum" for name in counts)]).rename_columns([*keys, *counts])
    return found.select(schema.names).sort_by([(name, "ascending") for name in keys])


def _rest(of_day: pa.Table, named: pa.Table) -> pa.Table:
    """Return the views of a day that are by no known device, as views by "". Some may be negative (devices)."""

    def unnamed(table: pa.Table) -> pa.Table:
        device = pa.repeat(pa.scalar(""), table.num_rows)
        return pa.table([table["video_id"], table["kind"], device, table["views"]], schema=DEVICES)

    return _by_device([unnamed(of_day), negative(unnamed(named))])


def _with_devices(countries: Iterable[pa.Table]) -> list[pa.Table]:
    return [table.select(DEVICES.names) for table in countries if "device" in table.schema.names]


def _by_device(tables: Iterable[pa.Table]) -> pa.Table:
    return summed(pa.concat_tables([DEVICES.empty_table(), *tables]), [*_NAMES, "device"], DEVICES)


def negative(table: pa.Table) -> pa.Table:
    """Return the table with its counts below 0."""
    for name in _COUNTS:
        at = table.schema.get_field_index(name)
        if at >= 0:
            table = table.set_column(at, name, pc.negate(table[name]))
    return table


def _concatenated(tables: Sequence[pa.Table], names: Sequence[str]) -> pa.Table | None:
    return pa.concat_tables([table.select(names) for table in tables]) if tables else None
