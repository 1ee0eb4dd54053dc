"""Compares sums with what they are made from: hours with minutes, days with hours, totals, and tables with Parquet."""

from collections.abc import Collection, Iterable, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

# The names of the comparisons, except that of the stream's minutes, in the order in which they are reported.
MINUTES_PARQUET = "minutes_parquet"
HOURS_PARQUET = "hours_parquet"
DAYS_PARQUET = "days_parquet"
TOTALS_PARQUET = "totals_parquet"
VIEWS_BY_HOUR = "views_by_hour"
VIEWS_BY_DAY = "views_by_day"
VIEW_TOTALS = "view_totals"
LEDGER = "ledger"
# An audit does not repair these, because it publishes no manifest.
OF_PARQUET = (MINUTES_PARQUET, HOURS_PARQUET, DAYS_PARQUET, TOTALS_PARQUET)
OF_TABLES = (VIEWS_BY_HOUR, VIEWS_BY_DAY, VIEW_TOTALS)
WHATS = (*OF_PARQUET, *OF_TABLES, LEDGER)
_CELL = ["video_id", "kind", "at"]
_NAMES = {"video_id": pa.string(), "kind": pa.string()}
_COUNTS = {"views": pa.int64(), "late_added": pa.int64()}
# `at` is the start of a minute, an hour or a day, in ms since 1970; 0 for all time.
AMOUNTS = pa.schema({**_NAMES, "at": pa.int64(), **_COUNTS})
# The amounts of a table, with the write timestamp of `views`, in µs since 1970.
STORED_AMOUNTS = pa.schema({**_NAMES, "at": pa.int64(), **_COUNTS, "written_us": pa.int64()})
DIFFERENCES = pa.schema(
    {
        **_NAMES,
        "at": pa.int64(),
        "before": pa.int64(),
        "after": pa.int64(),
        "late_before": pa.int64(),
        "late_after": pa.int64(),
    }
)
# A finding names at most so many places.
PLACES_MAX = 20


class Finding(msgspec.Struct, frozen=True):
    """The result of a comparison in WHATS, in numbers of rows.

    `places` are (at in ms, shard or partition) of wrong rows.
    """

    what: str
    compared: int = 0
    wrong: int = 0
    repaired: int = 0
    places: list[tuple[int, int]] = []

    def plus(self, other: "Finding") -> "Finding":
        """Add up two results of the same comparison. Only the first places are kept."""
        return Finding(
            self.what,
            self.compared + other.compared,
            self.wrong + other.wrong,
            self.repaired + other.repaired,
            sorted({*self.places, *other.places})[:PLACES_MAX],
        )


def amounts(table: pa.Table, at_ms: int | None = None) -> pa.Table:
    """Return a table of minutes or hours as AMOUNTS, or a table of schema SUMS, with `at_ms` as its time."""
    if at_ms is not None:
        at: pa.ChunkedArray = pa.chunked_array([pa.repeat(pa.scalar(at_ms), table.num_rows)])
    else:
        at = table["minute" if "minute" in table.schema.names else "hour"].cast(pa.int64())
    columns = [table["video_id"], table["kind"], at, table["views"], table["late_added"]]
    return pa.table(columns, names=AMOUNTS.names).cast(AMOUNTS)


def together(tables: Iterable[pa.Table], at_ms: int) -> pa.Table:
    """Sum any number of AMOUNTS by video and kind, and return AMOUNTS with `at_ms` as their time."""
    table = pa.concat_tables([AMOUNTS.empty_table(), *(one.select(AMOUNTS.names) for one in tables)])
    found = table.group_by(["video_id", "kind"]).aggregate([("views", "sum"), ("late_added", "sum")])
    return amounts(found.rename_columns(["video_id", "kind", "views", "late_added"]), at_ms)


def differences(right: pa.Table, found: pa.Table) -> tuple[int, pa.Table]:
    """Compare AMOUNTS, which have one row for each key. Return (number of keys in either, DIFFERENCES).

    A row that is missing counts as 0.
    """
    joined = right.select(AMOUNTS.names).rename_columns([*_CELL, "after", "late_after"]).join(
        found.select(AMOUNTS.names).rename_columns([*_CELL, "before", "late_before"]), _CELL, join_type="full outer"
    )  # fmt: skip
    for name in ("before", "after", "late_before", "late_after"):
        joined = joined.set_column(joined.schema.get_field_index(name), name, pc.fill_null(joined[name], 0))
    is_wrong = pc.or_(
        pc.not_equal(joined["before"], joined["after"]), pc.not_equal(joined["late_before"], joined["late_after"])
    )
    wrong = joined.filter(is_wrong).select(DIFFERENCES.names).cast(DIFFERENCES)
    return joined.num_rows, wrong.sort_by([(name, "ascending") for name in ("at", "video_id", "kind")])


def without_newer(right: pa.Table, stored: pa.Table, tokens: Collection[int]) -> tuple[pa.Table, pa.Table]:
    """Leave out, in both tables, the keys of rows that were written with these tokens, of newer manifests."""
    is_newer = pc.is_in(stored["written_us"], value_set=pa.array(sorted(tokens), pa.int64()))
    newer = stored.filter(is_newer).select(_CELL)
    if newer.num_rows:
        right = right.join(newer, _CELL, join_type="left anti")
    return right.select(AMOUNTS.names), stored.filter(pc.invert(is_newer)).select(AMOUNTS.names)


def without_doubtful(wrong: pa.Table, doubtful: Sequence[pa.Table]) -> pa.Table:
    """Return the differences whose keys are not in one of the other tables of differences.

    For these keys it is certain what is right.
    """
    for one in doubtful:
        if one.num_rows and wrong.num_rows:
            wrong = wrong.join(one.select(_CELL), _CELL, join_type="left anti").select(DIFFERENCES.names)
    return wrong


def finding(what: str, compared: int, wrong: pa.Table, shard: int, repaired: int = 0) -> Finding:
    """Return the finding for one comparison."""
    times = pc.unique(wrong["at"]).to_pylist()
    return Finding(what, compared, wrong.num_rows, repaired, [(at, shard) for at in sorted(times)[:PLACES_MAX]])


def added_up(findings: Iterable[Finding]) -> list[Finding]:
    """Add up the findings of each comparison. They are in the order of WHATS."""
    found: dict[str, Finding] = {}
    for one in findings:
        found[one.what] = found[one.what].plus(one) if one.what in found else one
    return [found[what] for what in WHATS if what in found]
