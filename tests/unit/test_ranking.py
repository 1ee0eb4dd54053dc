"""The lists of top videos: cut, order, kinds, growth; and how lists of shards are merged."""

from datetime import UTC, datetime, timedelta

import numpy as np

from services.query.store import ShardTop, merge_top
from udfs.logic.key_table import Bytes
from udfs.logic.ranking import KINDS_MAX, TOP, Ranked, most_viewed, most_viewed_and_growing, summed


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
    found = most_viewed(summed([first, second]))
    assert found == {b"view": [Ranked(video.encode(), count, 0) for count, video in expected]}


def test_kinds_have_lists_of_their_own_and_equals_are_in_order_of_name() -> None:
    # "vi" is the beginning of "view", and a video of it spells the rest.
    mixed = rows(("view", "b", 2), ("vi", "ewa", 7), ("view", "a", 2), ("like", "a", 1))
    assert most_viewed(summed([mixed])) == {
        b"view": [Ranked(b"a", 2, 0), Ranked(b"b", 2, 0)],
        b"vi": [Ranked(b"ewa", 7, 0)],
        b"like": [Ranked(b"a", 1, 0)],
    }
    assert most_viewed(summed([])) == {}


def test_of_too_many_kinds_the_most_frequent_are_ranked() -> None:
    found = most_viewed(summed([rows(*((f"kind-{n}", "v", n + 1) for n in range(KINDS_MAX + 5)))]))
    assert set(found) == {f"kind-{n}".encode() for n in range(5, KINDS_MAX + 5)}


def test_growth_counts_against_the_span_before_and_shrinking_is_left_out() -> None:
    now = rows(("view", "steady", 100), ("view", "new", 30), ("view", "falling", 5))
    before = rows(("view", "steady", 90), ("view", "falling", 50), ("view", "gone", 8), ("like", "gone", 1))
    most, growing = most_viewed_and_growing([now], [before])
    assert most == most_viewed(summed([now]))
    assert growing == {
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
    at, videos = merge_top(lists, by_growth=False, limit=2)
    assert (at, videos) == (noon.replace(tzinfo=UTC), [("a", 5, 5, ("A", "c", "C", noon)), ("c", 4, 0, None)])
    assert merge_top(lists, by_growth=True, limit=2)[1] == [("c", 4, 0, None), ("b", 3, 0, None)]
    assert merge_top([], by_growth=False, limit=2) == (None, [])
