"""Marks views that exceed the rules for one viewer, and finds whose views they are.

A rule says how often one viewer may view one video, as one kind, in a minute or in a day. Views that exceed it are
marked, and still count. The marks depend on the views and the rules alone: other rules give other marks, and without
rules there are none. Views of blocked viewers, which have a kind of their own, and views without a viewer_id are not
judged.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from schemas.kinds import BLOCKED_PREFIX
from udfs.logic.history.manifest import MarkRules
from udfs.logic.history.viewer_days import ViewerDays
from udfs.logic.kernels.hash_columns import column_of

# So many suspects are kept for a shard and a day.
SUSPECTS_MAX = 1000
_VIDEO = {"video_id": pa.string(), "kind": pa.string()}
MARKS = pa.schema({**_VIDEO, "marked": pa.int64(), "marked_viewers": pa.int64()})
# `viewer` is the hash of udfs.logic.slices.audience.
SUSPECTS = pa.schema({**_VIDEO, "viewer": pa.binary(16), "views": pa.int64(), "marked": pa.int64()})
CHANGES = pa.schema({**_VIDEO, "views": pa.int64(), "marked": pa.int64()})
_NAMES = list(_VIDEO)
_NO_RULE = 1 << 62


def beyond(viewers: Iterable[pa.Table], days: ViewerDays, rules: MarkRules) -> pa.Table:
    """Return every viewer with marked views, of schema SUSPECTS.

    `viewers` are the viewers of all slices of a day, `days` their sums of the day. `viewers` are only read if the sums
    show that a rule may be exceeded. In each minute, views above the minute's maximum are marked; of the others, those
    above the day's maximum.
    """
    # A viewer who has exceeded a rule has more views in the whole day than the rule allows. Most viewers do not.
    suspected = days.viewer[days.views > min(rules.minute_max or _NO_RULE, rules.day_max or _NO_RULE)]
    if not len(suspected):
        return SUSPECTS.empty_table()
    keys = [*_NAMES, "viewer"]
    wanted = pc.unique(column_of(suspected))
    theirs = (table.filter(pc.is_in(table["viewer"], wanted)) for table in viewers)
    # A viewer may have several rows in a minute, in different slices or in the same one.
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
    """Return how many views are marked, and of how many viewers: of schema MARKS, sorted by video and kind."""
    sums = found.group_by(_NAMES).aggregate([("marked", "sum"), ("marked", "count")])
    sums = sums.select([*_NAMES, "marked_sum", "marked_count"]).rename_columns(MARKS.names)
    return sums.cast(MARKS).sort_by([(name, "ascending") for name in _NAMES])


def suspects(found: pa.Table) -> pa.Table:
    """Return the SUSPECTS_MAX suspects with the most marked views, in descending order."""
    order = [("marked", "descending"), *((name, "ascending") for name in (*_NAMES, "viewer"))]
    return found.sort_by(order).slice(0, SUSPECTS_MAX)


def with_marks(table: pa.Table, marks: pa.Table) -> pa.Table:
    """Return the table, which has rows by video and kind, with a last column `marked`."""
    joined = table.join(marks.select([*_NAMES, "marked"]), _NAMES, join_type="left outer")
    at = joined.schema.get_field_index("marked")
    return joined.set_column(at, "marked", pc.fill_null(joined["marked"], 0))


def changes(before: tuple[pa.Table, pa.Table], after: tuple[pa.Table, pa.Table]) -> pa.Table:
    """Return videos with marked views, before or after, whose views or marks have changed. Of schema CHANGES.

    Each side is (views by video and kind, marks by video and kind) of the same day. The values are those after.
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
    """Return the table with texts in place of dictionaries, which groups and joins do not accept."""
    for at, name in enumerate(_NAMES):
        table = table.set_column(at, name, table[name].cast(pa.string()))
    return table


def _excess(views: pa.ChunkedArray, most: int) -> pa.ChunkedArray:
    """Return how much exceeds the maximum. If there is no maximum, that is 0."""
    return pc.max_element_wise(pc.subtract(views, most), 0) if most else pc.multiply(views, 0)
