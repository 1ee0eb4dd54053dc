"""The most viewed videos against sorting in plain Python, from one table or from shards."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiers import examples
from udfs.logic.history.tables import COUNTRIES, SUMS
from udfs.logic.history.top_lists import EVERYWHERE, TOPS, merged, top

VIDEOS = st.integers(0, 160)
VIEWS = st.lists(
    st.tuples(VIDEOS, st.sampled_from(["view", "like"]), st.sampled_from(["", "DE", "FR"]), st.integers(1, 5)),
    min_size=1,
    max_size=400,
)
Lists = dict[tuple[str, str], list[tuple[str, int]]]


def tables(views: list[tuple[int, str, str, int]]) -> tuple[pa.Table, pa.Table]:
    """Views by video, and by video and country, as history has them."""
    sums: Counter[tuple[str, str]] = Counter()
    countries: Counter[tuple[str, str, str]] = Counter()
    for video, kind, country, n in views:
        sums[f"v{video:03}", kind] += n
        countries[f"v{video:03}", kind, country] += n
    return (
        pa.Table.from_pylist(
            [{"video_id": v, "kind": k, "views": n, "late_added": 0} for (v, k), n in sorted(sums.items())], SUMS
        ),
        pa.Table.from_pylist(
            [{"video_id": v, "kind": k, "country": c, "views": n} for (v, k, c), n in sorted(countries.items())],
            COUNTRIES,
        ),
    )


def lists(table: pa.Table) -> Lists:
    """What a table says, checked for its ranks."""
    assert table.schema == TOPS
    found: Lists = {}
    for row in table.to_pylist():
        mine = found.setdefault((row["kind"], row["country"]), [])
        mine.append((row["video_id"], row["views"]))
        assert row["rank"] == len(mine)
    return found


def expected(views: list[tuple[int, str, str, int]]) -> Lists:
    by_list: dict[tuple[str, str], Counter[str]] = {}
    for video, kind, country, n in views:
        for place in {EVERYWHERE, country} - {""}:
            by_list.setdefault((kind, place), Counter())[f"v{video:03}"] += n
    return {place: sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:100] for place, counts in by_list.items()}


@examples(full=30, fast=5)
@given(VIEWS)
def test_the_most_viewed_come_first_and_ties_go_by_name(views: list[tuple[int, str, str, int]]) -> None:
    assert lists(top(*tables(views))) == expected(views)


@examples(full=30, fast=5)
@given(VIEWS)
def test_lists_of_shards_merge_to_those_of_all(views: list[tuple[int, str, str, int]]) -> None:
    shards = [[view for view in views if view[0] % 3 == shard] for shard in range(3)]
    assert lists(merged([top(*tables(of)) for of in shards])) == expected(views)


def test_a_list_is_not_longer_than_a_hundred() -> None:
    views = [(video, "view", "DE", 1 + video % 2) for video in range(150)]
    found = lists(top(*tables(views)))
    assert [len(videos) for videos in found.values()] == [100, 100]
    assert found["view", "DE"] == expected(views)["view", "DE"]


def test_nothing_has_no_lists() -> None:
    assert top(SUMS.empty_table(), COUNTRIES.empty_table()).equals(TOPS.empty_table())
