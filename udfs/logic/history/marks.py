"""Views that no person makes: which of a day's views are beyond the rules, and whose they are. Pure.

A rule is the most that one viewer may view one video, as one kind, in a minute or in a day; what is beyond it is
marked. Nothing is taken away for that. What is marked follows from the views and the rules alone, so that the same day
gives other marks by other rules, and none by none. Views of blocked viewers are a kind of their own already, and are
not judged; nor is what has no viewer_id.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from schemas.kinds import BLOCKED_PREFIX
from udfs.logic.history.manifest import MarkRules
from udfs.logic.history.viewer_days import ViewerDays
from udfs.logic.kernels.hash_columns import column_of

# Of a shard and a day.
SUSPECTS_MAX = 1000
_VIDEO = {"video_id": pa.string(), "kind": pa.string()}
MARKS = pa.schema({**_VIDEO, "marked": pa.int64(), "marked_viewers": pa.int64()})
# `viewer` is the hash of udfs.logic.slices.audience.
SUSPECTS = pa.schema({**_VIDEO, "viewer": pa.binary(16), "views": pa.int64(), "marked": pa.int64()})
CHANGES = pa.schema({**_VIDEO, "views": pa.int64(), "marked": pa.int64()})
_NAMES = list(_VIDEO)
_NO_RULE = 1 << 62


def beyond(viewers: Iterable[pa.Table], days: ViewerDays, rules: MarkRules) -> pa.Table:
    """Of schema SUSPECTS, everyone of whose views some are marked, from all slices' viewers of a day, and their days.

    The viewers are looked at only if there may be any. Of each minute what is beyond the minute's maximum, and of what
    is left of the day what is beyond the day's.
    """
    # Nobody is beyond a rule who has not so many views in all: of most viewers nothing more has to be looked at.
    suspected = days.viewer[days.views > min(rules.minute_max or _NO_RULE, rules.day_max or _NO_RULE)]
    if not len(suspected):
        return SUSPECTS.empty_table()
    keys = [*_NAMES, "viewer"]
    wanted = pc.unique(column_of(suspected))
    theirs = (table.filter(pc.is_in(table["viewer"], wanted)) for table in viewers)
    # A viewer may have several rows in a minute: of several slices, or of one.
    each = pa.concat_tables([_plain(table.select([*keys, "minute", "views"])) for table in theirs])
    each = each.filter(pc.invert(pc.starts_with(each["kind"], BLOCKED_PREFIX)))
    each = each.group_by([*keys, "minute"]).aggregate([("views", "sum")])
    each = each.append_column("beyond", _excess(each["views_sum"], rules.minute_max))
    sums = each.group_by(keys).aggregate([("views_sum", "sum"), ("beyond", "sum")])
    left = pc.subtract(sums["views_sum_sum"], sums["beyond_sum"])
    marked = pc.add(sums["beyond_sum"], _excess(left, rules.day_max))
    found = sums.select([*keys, "views_sum_sum"]).append_column("marked", marked).rename_columns(SUSPECTS.names)
    return found.filter(pc.greater(marked, 0)).cast(SUSPECTS)


def by_video(found: pa.Table) -> pa.Table:
    """Of schema MARKS, sorted by video and kind: how many views of each are marked, and of how many viewers."""
    sums = found.group_by(_NAMES).aggregate([("marked", "sum"), ("marked", "count")])
    sums = sums.select([*_NAMES, "marked_sum", "marked_count"]).rename_columns(MARKS.names)
    return sums.cast(MARKS).sort_by([(name, "ascending") for name in _NAMES])


def suspects(found: pa.Table) -> pa.Table:
    """Those with the most marked views, SUSPECTS_MAX of them, the most first."""
    order = [("marked", "descending"), *((name, "ascending") for name in (*_NAMES, "viewer"))]
    return found.sort_by(order).slice(0, SUSPECTS_MAX)


def with_marks(table: pa.Table, marks: pa.Table) -> pa.Table:
    """The rows of a table, by video and kind, with how many views of each are `marked`."""
    joined = table.join(marks.select([*_NAMES, "marked"]), _NAMES, join_type="left outer")
    at = joined.schema.get_field_index("marked")
    return joined.set_column(at, "marked", pc.fill_null(joined["marked"], 0))


def changes(before: tuple[pa.Table, pa.Table], after: tuple[pa.Table, pa.Table]) -> pa.Table:
    """Of schema CHANGES, as after: videos that have marked views, or had, and whose views or marked ones changed.

    Each side is (views by video and kind, marks by video and kind) of the same day.
    """
    names = pa.concat_tables([marks.select(_NAMES) for _, marks in (before, after)]).group_by(_NAMES).aggregate([])
    if not names.num_rows:
        return CHANGES.empty_table()
    old, new = (
        with_marks(names.join(sums.select([*_NAMES, "views"]), _NAMES, join_type="left outer"), marks)
        for sums, marks in (before, after)
    )
    old = old.select([*_NAMES, "views", "marked"]).rename_columns([*_NAMES, "old_views", "old_marked"])
    both = new.join(old, _NAMES)
    same = pc.and_(
        pc.equal(both["views"], pc.fill_null(both["old_views"], 0)), pc.equal(both["marked"], both["old_marked"])
    )
    found = both.filter(pc.invert(same)).select(CHANGES.names).cast(CHANGES)
    return found.sort_by([(name, "ascending") for name in _NAMES])


def _plain(table: pa.Table) -> pa.Table:
    """With texts in place of dictionaries, which groups and joins do not take."""
    for at, name in enumerate(_NAMES):
        table = table.set_column(at, name, table[name].cast(pa.string()))
    return table


def _excess(views: pa.ChunkedArray, most: int) -> pa.ChunkedArray:
    """What is beyond the maximum; nothing where there is none."""
    return pc.max_element_wise(pc.subtract(views, most), 0) if most else pc.multiply(views, 0)
