"""Compares the stream's minutes with history's: which cells are equal, which lack late events, which are wrong."""

from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from udfs.logic.history.tables import TIME

# The stream's counts by video and minute, with the write timestamp in µs since 1970.
STORED = pa.schema(
    {"video_id": pa.string(), "kind": pa.string(), "minute": TIME, "views": pa.int64(), "written_us": pa.int64()}
)
_CELL = ["video_id", "kind", "minute"]
LATE = "late"
WRONG = "wrong"


class Verdict(msgspec.Struct, frozen=True):
    """The result for one hour viewed, in numbers of cells; `late_added` and `biggest_difference` are views."""

    hour: int
    compared: int = 0
    equal: int = 0
    late: int = 0
    late_added: int = 0
    wrong: int = 0
    biggest_difference: int = 0
    repaired: int = 0

    def plus(self, other: "Verdict") -> "Verdict":
        """Add up two results of the same hour."""
        return Verdict(
            self.hour,
            self.compared + other.compared,
            self.equal + other.equal,
            self.late + other.late,
            self.late_added + other.late_added,
            self.wrong + other.wrong,
            max(self.biggest_difference, other.biggest_difference),
            self.repaired + other.repaired,
        )


class Correction(NamedTuple):
    """A cell that differs from history; `minute_ms` is since 1970, `written_us` is 0 if there is no row."""

    video_id: str
    kind: str
    minute_ms: int
    reason: str
    before: int
    after: int
    written_us: int


def compare(hour: int, truth: pa.Table, stored: pa.Table) -> tuple[Verdict, list[Correction]]:
    """Compare one hour: `truth` is of schema udfs.logic.history.tables.MINUTES, `stored` is of schema STORED.

    A cell is equal if it has all late events, and LATE if it has none. A repair may have added some or all of them.
    """
    joined = truth.rename_columns([*_CELL, "after", "late_added"]).join(
        stored.rename_columns([*_CELL, "before", "written_us"]), _CELL, join_type="full outer"
    )
    after, added, before, written = (
        pc.fill_null(joined[name], 0) for name in ("after", "late_added", "before", "written_us")
    )
    is_equal = pc.equal(before, after)
    in_time = pc.subtract(after, added)
    # A row that a repair has written has another write timestamp than the stream's. It may lack later late events.
    by_stream = pc.add(pc.multiply(joined["minute"].cast(pa.int64()), 1000), before)
    is_repaired = pc.and_(pc.not_equal(written, by_stream), pc.greater(written, 0))
    is_between = pc.and_(pc.greater(before, in_time), pc.less(before, after))
    lacks_late = pc.or_(pc.equal(before, in_time), pc.and_(is_repaired, is_between))
    is_late = pc.and_(pc.invert(is_equal), lacks_late)
    is_wrong = pc.and_(pc.invert(is_equal), pc.invert(is_late))
    difference = pc.abs(pc.subtract(after, before))
    verdict = Verdict(
        hour=hour,
        compared=joined.num_rows,
        equal=_count(is_equal),
        late=_count(is_late),
        late_added=pc.sum(pc.filter(pc.subtract(after, before), is_late)).as_py() or 0,
        wrong=_count(is_wrong),
        biggest_difference=pc.max(pc.filter(difference, is_wrong)).as_py() or 0,
    )
    found = pa.table(
        {
            **{name: joined[name] for name in _CELL},
            "is_wrong": is_wrong,
            "before": before,
            "after": after,
            "written_us": written,
        }
    ).filter(pc.invert(is_equal))
    corrections = [
        Correction(
            row["video_id"],
            row["kind"],
            round(row["minute"].timestamp() * 1000),
            WRONG if row["is_wrong"] else LATE,
            row["before"],
            row["after"],
            row["written_us"],
        )
        for row in found.sort_by([(name, "ascending") for name in _CELL]).to_pylist()
    ]
    return verdict, corrections


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
