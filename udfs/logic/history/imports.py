"""The rules of imports: numbers that another counter has counted before history begins. Pure.

An import is a table of schema IMPORT under a name. Each row has the views of a video and kind in an hour, in a day, or,
if it has neither, in all the time before the import's cut-over. Imports add to the numbers that this product counts, so
nothing may be in two of them, or in one and in history: two rows of one video and kind overlap if their times do.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from settings.durations import HOUR_MS
from udfs.logic.history.manifest import HistoryError, Manifest, hour_start
from udfs.logic.history.tables import TIME

IMPORT = pa.schema(
    {
        "video_id": pa.string(),
        "kind": pa.string(),
        "day": pa.date32(),
        "hour": TIME,
        "views": pa.int64(),
        "source": pa.string(),
    }
)
TOTALS = pa.schema({"video_id": pa.string(), "kind": pa.string(), "views": pa.int64()})
DAYS = pa.schema({"video_id": pa.string(), "kind": pa.string(), "day": pa.date32(), "views": pa.int64()})
_NAMES = ["video_id", "kind"]
_TIMES = ["day", "hour"]


class ImportRefusedError(HistoryError):
    """These numbers cannot be imported. The text says which, and what to do."""


def digest(table: pa.Table) -> str:
    """The SHA-256 of the rows of an import, whatever their order."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, IMPORT) as writer:
        writer.write_table(in_order(table).combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def in_order(table: pa.Table) -> pa.Table:
    """The rows of an import by video, kind and time."""
    keys = [*_NAMES, *_TIMES, "views", "source"]
    return table.select(IMPORT.names).cast(IMPORT).sort_by([(name, "ascending") for name in keys])


def first_hour(manifest: Manifest, made_ms: int) -> int:
    """The hour viewed with which history begins; before the first rollup the hour in which its register was made.

    Numbers are in hours since 1970. `made_ms` is the `made_ms` of the register.
    """
    return min(manifest.files["hours"], default=made_ms // HOUR_MS)


def check(
    table: pa.Table,
    cut_over: int,
    others: Mapping[str, pa.Table],
    first: int,
    *,
    overlap: bool,
) -> None:
    """Raise ImportRefusedError for an import with rows that overlap each other, history or another import.

    `cut_over` and `first`, history's first hour, are in hours since 1970. `others` are the other imports in force, by
    name. With `overlap` only rows that are in the import twice are refused, and rows that are not before its cut-over.
    """
    if not table.num_rows:
        raise ImportRefusedError("the file has no row; nothing is imported")
    _check_cut_over(table, cut_over)
    _check_twice(table)
    if overlap:
        return
    if cut_over > first and table["day"].null_count:
        raise ImportRefusedError(
            f"cut-over={hour_start(cut_over):%Y-%m-%dT%H:%MZ} is after {hour_start(first):%Y-%m-%dT%H:%MZ}, with "
            "which history begins, so rows without a day would count views twice: name an earlier cut-over, or say "
            "--overlap if none of their views is in history"
        )
    late = table.filter(pc.greater(_ends(table, cut_over), first))
    if late.num_rows:
        raise ImportRefusedError(
            f"{late.num_rows} rows are at or after {hour_start(first):%Y-%m-%dT%H:%MZ}, with which history begins, "
            f"the first of them {_told(late)}: remove them, or say --overlap if none of their views is in history"
        )
    _check_within(table)
    for name, other in others.items():
        _check_between(table, other, name)


def totals(imports: Sequence[pa.Table], changed: Iterable[pa.Table]) -> pa.Table:
    """All imported views of schema TOTALS: of each video and kind in `changed`, 0 if the imports have none."""
    return _sums(imports, changed, TOTALS)


def days(imports: Sequence[pa.Table], changed: Iterable[pa.Table]) -> pa.Table:
    """Imported views by day, of schema DAYS: of each video, kind and day in `changed`, 0 if the imports have none."""
    dated = [_dated(table) for table in imports]
    return _sums(dated, map(_dated, changed), DAYS)


def _check_cut_over(table: pa.Table, cut_over: int) -> None:
    late = table.filter(pc.greater(_ends(table, cut_over), cut_over))
    if late.num_rows:
        raise ImportRefusedError(
            f"{late.num_rows} rows are not before the cut-over, {hour_start(cut_over):%Y-%m-%dT%H:%MZ}, the first of "
            f"them {_told(late)}: remove them, or name a later cut-over"
        )


def _check_twice(table: pa.Table) -> None:
    twice = _counted(table, [*_NAMES, *_TIMES]).filter(pc.field("rows") > 1)
    if twice.num_rows:
        raise ImportRefusedError(
            f"{twice.num_rows} rows are there more than once, the first of them {_told(twice)}: keep one, or add them "
            "up"
        )


def _check_within(table: pa.Table) -> None:
    found = _overlapping(table, table)
    if found.num_rows:
        raise ImportRefusedError(
            f"{found.num_rows} videos have rows whose times overlap, the first of them {_told(found)}: leave the sum "
            "out where there are days, and the day where there are hours, or say --overlap if no view is in two rows"
        )


def _check_between(table: pa.Table, other: pa.Table, name: str) -> None:
    both = [*_NAMES, *_TIMES]
    same = _joined(table, other, both) if table.num_rows and other.num_rows else table.slice(0, 0)
    found = same if same.num_rows else _overlapping(table, other)
    if not found.num_rows:
        found = _overlapping(other, table)
    if found.num_rows:
        raise ImportRefusedError(
            f"{found.num_rows} rows overlap the import {name}, the first of them {_told(found)}: remove them, or say "
            "--overlap if none of their views is in it"
        )


def _overlapping(table: pa.Table, other: pa.Table) -> pa.Table:
    """The rows of `table` that lie within the longer time of a row of `other`: its whole time or its day."""
    whole = other.filter(pc.field("day").is_null())
    dated = table.filter(pc.field("day").is_valid())
    in_whole = _joined(dated, whole, _NAMES)
    if table is not other:
        in_whole = pa.concat_tables([in_whole, _joined(table.filter(pc.field("day").is_null()), whole, _NAMES)])
    of_days = other.filter(pc.field("day").is_valid() & pc.field("hour").is_null())
    in_day = _joined(table.filter(pc.field("hour").is_valid()), of_days, [*_NAMES, "day"])
    return pa.concat_tables([in_whole, in_day])


def _joined(table: pa.Table, other: pa.Table, keys: list[str]) -> pa.Table:
    """The rows of `table` with keys that `other` has, too. Nulls are equal."""
    left, right = (_without_nulls(one.select([*_NAMES, *_TIMES])) for one in (table, other))
    found = left.join(right.select(keys).group_by(keys).aggregate([]), keys, join_type="left semi")
    return _with_nulls(found)


def _without_nulls(table: pa.Table) -> pa.Table:
    """Times as whole numbers, with -1 for none: no join finds a null equal to a null."""
    for name, kind in (("day", pa.int32()), ("hour", pa.int64())):
        column = pc.fill_null(table[name].cast(kind), -1)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _with_nulls(table: pa.Table) -> pa.Table:
    for name, kind in (("day", pa.date32()), ("hour", TIME)):
        column = pc.if_else(pc.equal(table[name], -1), None, table[name]).cast(kind)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _counted(table: pa.Table, keys: list[str]) -> pa.Table:
    return table.group_by(keys).aggregate([("views", "count")]).rename_columns([*keys, "rows"])


def _ends(table: pa.Table, cut_over: int) -> pa.Array:
    """The hour since 1970 at which the time of each row ends. A row without a day ends with the cut-over."""
    by_hour = pc.add(pc.divide(table["hour"].cast(pa.int64()), HOUR_MS), 1)
    by_day = pc.multiply(pc.add(table["day"].cast(pa.int32()).cast(pa.int64()), 1), 24)
    return pc.coalesce(by_hour, by_day, pa.scalar(cut_over, pa.int64()))


def _dated(table: pa.Table) -> pa.Table:
    return table.filter(pc.field("day").is_valid())


def _sums(imports: Sequence[pa.Table], changed: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    keys = [name for name in schema.names if name != "views"]
    wanted = pa.concat_tables([schema.empty_table().select(keys), *(table.select(keys) for table in changed)])
    wanted = wanted.group_by(keys).aggregate([])
    there = pa.concat_tables([schema.empty_table(), *(table.select(schema.names) for table in imports)])
    summed = there.group_by(keys).aggregate([("views", "sum")]).rename_columns([*keys, "views"])
    found = wanted.join(summed, keys, join_type="left outer").select(schema.names)
    at = schema.get_field_index("views")
    found = found.set_column(at, "views", pc.fill_null(found["views"], 0))
    return found.cast(schema).sort_by([(name, "ascending") for name in keys])


def _told(table: pa.Table) -> str:
    """The first row by its order, for a sentence."""
    row = table.sort_by([(name, "ascending") for name in [*_NAMES, *_TIMES]]).slice(0, 1).to_pylist()[0]
    at = row["hour"] and f"{row['hour']:%Y-%m-%dT%H:%MZ}"
    day = row["day"] and row["day"].isoformat()
    return f"video={row['video_id']} kind={row['kind']} {at or day or 'without a day'}"
