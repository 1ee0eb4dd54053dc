"""Marks by the rules against counting by hand, however the views lie in slices."""

from collections import Counter, defaultdict

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiers import examples
from udfs.logic.history.manifest import MarkRules
from udfs.logic.history.marks import CHANGES, MARKS, SUSPECTS, beyond, by_video, changes, suspects, with_marks
from udfs.logic.history.viewer_days import viewer_days
from udfs.logic.slices.audience import VIEWERS, viewer_hash

VIDEOS = st.sampled_from(["a", "b", "é"])
KINDS = st.sampled_from(["view", "like", "blocked:view"])
VIEWER = st.sampled_from(["ann", "bob", "eve"])
# (video, kind, viewer, minute, views)
ROWS = st.lists(st.tuples(VIDEOS, KINDS, VIEWER, st.integers(0, 3), st.integers(1, 4)), max_size=12)
RULES = st.builds(MarkRules, st.integers(0, 5), st.integers(0, 7))
Row = tuple[str, str, str, int, int]
SUMS = pa.schema({"video_id": pa.string(), "kind": pa.string(), "views": pa.int64()})


def of_slice(rows: list[Row]) -> pa.Table:
    """As a slice has them."""
    made = [
        {"shard": 0, "hour": 0, "video_id": v, "kind": k, "viewer": viewer_hash(who), "minute": m, "views": n}
        for v, k, who, m, n in rows
    ]
    return pa.Table.from_pylist(made, VIEWERS).drop_columns(["shard", "hour"])


def by_hand(rows: list[Row], rules: MarkRules) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(views, marked) of everyone with marked views: views one after the other, by the words of the rules."""
    minutes: Counter[tuple[str, str, str, int]] = Counter()
    for video, kind, who, minute, views in rows:
        minutes[video, kind, who, minute] += views
    views_of: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for (video, kind, who, _), views in minutes.items():
        views_of[video, kind, who].append(views)
    found = {}
    for name, days in views_of.items():
        if name[1].startswith("blocked:"):
            continue
        marked = left = 0
        for views in days:
            for nth in range(1, views + 1):
                if rules.minute_max and nth > rules.minute_max:
                    marked += 1
                else:
                    left += 1
        if rules.day_max and left > rules.day_max:
            marked += left - rules.day_max
        if marked:
            found[name] = (sum(days), marked)
    return found


@examples(full=60, fast=8)
@given(st.lists(ROWS, max_size=3), RULES)
def test_marked_is_what_is_beyond_the_rules(slices: list[list[Row]], rules: MarkRules) -> None:
    rows = [row for of in slices for row in of]
    want = by_hand(rows, rules)
    tables = [of_slice(of) for of in slices]
    found = beyond(tables, viewer_days(tables), rules)
    assert found.schema == SUSPECTS
    names = {viewer_hash(who): who for who in ("ann", "bob", "eve")}
    listed = suspects(found).to_pylist()
    got = {(r["video_id"], r["kind"], names[r["viewer"]]): (r["views"], r["marked"]) for r in listed}
    assert got == want
    assert len(listed) == len(want)
    assert [r["marked"] for r in listed] == sorted((r["marked"] for r in listed), reverse=True)
    marks: Counter[tuple[str, str]] = Counter()
    for (video, kind, _), (_, marked) in want.items():
        marks[video, kind] += marked
    viewers = Counter((video, kind) for video, kind, _ in want)
    table = by_video(found)
    assert table.schema == MARKS
    assert [tuple(row.values()) for row in table.to_pylist()] == [(*n, marks[n], viewers[n]) for n in sorted(marks)]
    # Never more than there are.
    views: Counter[tuple[str, str]] = Counter()
    for video, kind, _, _, n in rows:
        views[video, kind] += n
    sums = pa.Table.from_pylist([{"video_id": v, "kind": k, "views": n} for (v, k), n in views.items()], SUMS)
    beside = {(r["video_id"], r["kind"]): r for r in with_marks(sums, table).to_pylist()}
    assert {name: row["views"] for name, row in beside.items()} == views
    assert {name: row["marked"] for name, row in beside.items()} == {name: marks[name] for name in views}
    assert all(row["marked"] < row["views"] for row in beside.values())


DAYS = st.dictionaries(st.tuples(VIDEOS, KINDS), st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=5)
Numbers = dict[tuple[str, str], tuple[int, int]]


def of_day(numbers: Numbers) -> tuple[pa.Table, pa.Table]:
    """Views, and marks of those that have any."""
    views = [{"video_id": v, "kind": k, "views": n} for (v, k), (n, _) in numbers.items()]
    marks = [{"video_id": v, "kind": k, "marked": m, "marked_viewers": 1} for (v, k), (_, m) in numbers.items() if m]
    return pa.Table.from_pylist(views, SUMS), pa.Table.from_pylist(marks, MARKS)


@examples(full=60, fast=8)
@given(DAYS, DAYS)
def test_a_change_is_told_of_what_is_marked_or_was(before: Numbers, added: Numbers) -> None:
    # Views only become more; marks change as they like.
    after = {name: (before.get(name, (0, 0))[0] + views - 1, marked) for name, (views, marked) in added.items()}
    after = {**{name: (views, 0) for name, (views, _) in before.items()}, **after}
    found = changes(of_day(before), of_day(after))
    assert found.schema == CHANGES
    want = [
        (*name, *after[name])
        for name in sorted(after)
        if (before.get(name, (0, 0))[1] or after[name][1]) and before.get(name, (0, 0)) != after[name]
    ]
    assert [tuple(row.values()) for row in found.to_pylist()] == want
