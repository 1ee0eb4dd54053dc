"""The lists of top videos: cut, order, kinds, growth; and how lists of shards are merged."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.query.counts.top import ShardTop, merge_top
from settings import CountingSettings
from settings.durations import MINUTE_MS
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.minutes import partials
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.logic.ranking.lists import KINDS_MAX, TOP, Ranked, most_viewed, most_viewed_and_growing, summed
from udfs.logic.stream.window import ShardWindow
from udfs.operators.cassandra_sink import lists_of_kinds
from udfs.operators.elements import Top


def rows(*cells: tuple[str, str, int]) -> Bytes:
    """Rows without minute of (kind, video, views)."""
    packed = b""
    for kind, video, views in cells:
        key = bytes([len(kind)]) + kind.encode() + video.encode()
        packed += bytes([len(key)]) + key + views.to_bytes(4, "little")
    return np.frombuffer(packed, np.uint8)


def test_the_list_is_cut_at_the_top_and_summed_over_the_span() -> None:
    random = np.random.default_rng(5)
    views = random.permutation(1000).tolist()
    first = rows(*(("view", f"v{n}", count) for n, count in enumerate(views)))
    second = rows(*(("view", f"v{n}", 1000) for n in range(500)))
    expected = sorted(((count + 1000 * (n < 500), f"v{n}") for n, count in enumerate(views)), reverse=True)[:TOP]
    found = most_viewed(summed([first, second])).of_kind
    assert found == {b"view": [Ranked(video.encode(), count, 0) for count, video in expected]}


def test_kinds_have_lists_of_their_own_and_equals_are_in_order_of_name() -> None:
    # "vi" is the beginning of "view", and a video of it spells the rest.
    mixed = rows(("view", "b", 2), ("vi", "ewa", 7), ("view", "a", 2), ("like", "a", 1))
    assert most_viewed(summed([mixed])) == (
        {
            b"view": [Ranked(b"a", 2, 0), Ranked(b"b", 2, 0)],
            b"vi": [Ranked(b"ewa", 7, 0)],
            b"like": [Ranked(b"a", 1, 0)],
        },
        [],
    )
    assert most_viewed(summed([])) == ({}, [])


def test_of_too_many_kinds_the_most_frequent_are_ranked() -> None:
    found = most_viewed(summed([rows(*((f"kind-{n}", "v", n + 1) for n in range(KINDS_MAX + 5)))]))
    assert set(found.of_kind) == {f"kind-{n}".encode() for n in range(5, KINDS_MAX + 5)}
    assert {name for name, *_ in found.kinds} == {*found.of_kind, b""}
    assert found.kinds[-1] == (b"", 5, 5)


def test_a_kind_that_somebody_invents_pushes_no_declared_one_out() -> None:
    invented = [(f"made-up-{n}", "v", 6) for n in range(3 * KINDS_MAX)]
    counted = summed([rows(("like", "a", 5), *invented, ("dislike", "a", 5), ("common", "a", 7))])
    found = most_viewed(counted, [b"like", b"blocked:like", b"view"])
    # Of the equally frequent ones there is room for some, and nothing says for which.
    assert found.of_kind == {b"like": [Ranked(b"a", 5, 0)], b"common": [Ranked(b"a", 7, 0)]}
    named = {name: events for name, events, _ in found.kinds if name}
    assert named == {b"like": 5, b"blocked:like": 0, b"view": 0, b"common": 7}
    assert [one for one in found.kinds if not one.video_id] == [Ranked(b"", 6, 3 * KINDS_MAX + 1)]


def test_which_kinds_are_ranked_does_not_depend_on_the_order_in_which_they_came() -> None:
    cells = [(f"kind-{n}", "v", 1 + n // 3) for n in range(KINDS_MAX + 9)]
    there, back = (most_viewed(summed([rows(*order)])) for order in (cells, cells[::-1]))
    assert there == back
    assert 0 < len(there.of_kind) < len(cells)


def test_growth_counts_against_the_span_before_and_shrinking_is_left_out() -> None:
    now = rows(("view", "steady", 100), ("view", "new", 30), ("view", "falling", 5))
    before = rows(("view", "steady", 90), ("view", "falling", 50), ("view", "gone", 8), ("like", "gone", 1))
    most, growing = most_viewed_and_growing([now], [before])
    assert most == most_viewed(summed([now]))
    assert growing.of_kind == {
        b"view": [Ranked(b"new", 30, 0), Ranked(b"steady", 100, 90)],
        b"like": [],
    }


def test_lists_of_shards_are_merged_at_the_newest_minute_that_all_have() -> None:
    noon = datetime(2026, 1, 1, 12)
    minute = timedelta(minutes=1)
    lists = [
        ShardTop(noon - minute, 0, [("old", 99, 0)]),
        ShardTop(noon, 0, [("a", 5, 5), ("b", 3, 0)], {"a": ("A", "c", "C", noon), "gone": ("G", "c", "C", noon)}),
        ShardTop(noon, 1, [("c", 4, 0)]),
        ShardTop(noon + minute, 1, [("c", 6, 0)]),
        # What is known outlives a list by a moment.
        ShardTop(noon + minute, 0, None, {"a": ("A", "c", "C", noon)}),  # type: ignore[arg-type]
    ]
    at, videos, left_out = merge_top(lists, kind="view", by_growth=False, limit=2)
    assert (at, videos) == (noon.replace(tzinfo=UTC), [("a", 5, 5, ("A", "c", "C", noon)), ("c", 4, 0, None)])
    assert left_out == 0
    growing = merge_top(lists, kind="view", by_growth=True, limit=2)
    assert growing.videos == [("c", 4, 0, None), ("b", 3, 0, None)]
    assert merge_top([], kind="view", by_growth=False, limit=2) == (None, [], 0)


NOON = datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("kind", "left_out_events", "limit", "by_growth", "left_out"),
    [
        # Declared, so that the shard says that it has none.
        ("view", 50, 2, False, 0),
        # The list is not full, or what is left out may have as many as its last.
        ("rare", 1, 3, False, 1),
        ("rare", 4, 2, False, 1),
        # None of what is left out comes near.
        ("rare", 3, 2, False, 0),
        ("rare", 3, 2, True, 1),
    ],
)
def test_a_list_is_exact_or_says_that_it_is_not(
    kind: str, left_out_events: int, limit: int, *, by_growth: bool, left_out: int
) -> None:
    lists = [ShardTop(NOON, 0, [("a", 9, 8), ("b", 4, 1)])]
    kinds = [ShardTop(NOON, 1, [("view", 0, 0), ("", left_out_events, 7)])]
    found = merge_top(lists, kinds, kind=kind, by_growth=by_growth, limit=limit)
    assert found.left_out == left_out


def test_a_kind_without_any_list_and_one_that_was_pushed_out_say_so() -> None:
    later = NOON + timedelta(minutes=10)
    kinds = [ShardTop(later, shard, [("view", 3, 0), ("", 3, 7)]) for shard in range(2)]
    assert merge_top([], kinds, kind="rare", by_growth=False, limit=1) == (None, [], 2)
    lists = [ShardTop(NOON, 0, [("a", 9, 0)])]
    assert merge_top(lists, kinds, kind="rare", by_growth=False, limit=1).left_out == 2
    assert merge_top(lists, kinds, kind="view", by_growth=False, limit=1).left_out == 0


def test_a_shard_writes_which_kinds_it_has_ranked_where_it_left_any_out() -> None:
    window = ShardWindow(CountingSettings(ranked_kinds="like"))
    kinds = [("like", 1), *((f"made-up-{n}", 2) for n in range(KINDS_MAX))]
    cells = b"".join(dated_row(Cell(b"v", kind.encode(), 7, views)) for kind, views in kinds)
    for element in partials.encode(0, 8 * MINUTE_MS, np.frombuffer(cells, np.uint8), 1).values():
        window.absorb(element)
    rankings = [one for one in window.rank() if one.span == "minute"]
    assert set(rankings[0].lists) == {b"like"}
    written = lists_of_kinds(Top(3, rankings))
    assert written == [
        (b"", "minute", 7, 1 + 2 * KINDS_MAX, [(b"blocked:like", 0, 0), (b"like", 1, 0), (b"", 2, KINDS_MAX)])
    ]
