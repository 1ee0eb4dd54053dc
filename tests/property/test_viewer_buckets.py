"""A day's viewers in shares: each row of a shard is read in one of them alone, whatever slices there are."""

import tempfile
from collections import Counter

import pyarrow as pa
import pyarrow.fs
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiers import examples
from udfs.logic.history.manifest import SliceInfo, SliceName
from udfs.logic.kernels.shards import shard_of
from udfs.logic.slices.audience import CELLS, COUNTRIES, VIEWERS, Sums, viewer_hash
from udfs.logic.slices.slice_counts import SliceCounts, no_known
from udfs.logic.slices.viewer_buckets import BUCKETS_MAX, buckets_for, rows_of, shares_of
from udfs.stores.history_store import HistoryStore

SHARDS = 3
INFO = {"next_hour": 1, "first_offset": 0, "next_offset": 1, "records": 1, "gaps": []}
# (video, viewer), most of them of one video.
ROWS = st.lists(st.tuples(st.sampled_from(["a", "a", "a", *(f"v{n}" for n in range(9))]), st.integers(0, 30)))
SLICES = st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), ROWS), max_size=4)


def put(history: HistoryStore, number: int, buckets: int, rows: list[tuple[str, int]]) -> SliceInfo:
    """A slice of these viewers, with so many buckets."""
    made = []
    for video, viewer in rows:
        finer = shard_of(video, SHARDS * buckets)
        shard = finer % SHARDS * buckets + finer // SHARDS
        name = {"hour": 0, "shard": shard, "kind": "view", "video_id": video, "minute": 0}
        made.append(name | {"viewer": viewer_hash(str(viewer)), "views": 1})
    made.sort(key=lambda row: (row["shard"], row["video_id"]))
    viewers = pa.Table.from_pylist(made, VIEWERS)
    sums = Sums(CELLS.empty_table(), COUNTRIES.empty_table(), viewers, buckets)
    return history.put_slice(SliceName(0, number), SliceCounts(sums, no_known(), {}, {}, Counter()), INFO)


@examples(full=60, fast=8)
@given(SLICES, st.integers(1, 40))
def test_each_row_is_in_one_share(slices: list[tuple[int, list[tuple[str, int]]]], rows_max: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = HistoryStore(pyarrow.fs.LocalFileSystem(), folder)
        infos = [put(history, number, *of) for number, of in enumerate(slices)]
        for shard in range(SHARDS):
            groups = [
                (of % info.viewer_buckets, info.viewer_buckets, rows)
                for info in infos
                for of, _, rows in info.viewers
                if of // info.viewer_buckets == shard
            ]
            found: Counter[tuple[str, bytes]] = Counter()
            for share in shares_of(groups, rows_max):
                mine: Counter[tuple[str, bytes]] = Counter()
                for info in infos:
                    table = history.viewers(info, shard, [0], share)
                    rows = [] if table is None else rows_of(table, share, SHARDS).to_pylist()
                    mine.update((row["video_id"], row["viewer"]) for row in rows)
                # Each viewer of a video in one alone: else they would be counted twice.
                assert not mine.keys() & found.keys()
                found += mine
            all_rows = Counter((v, viewer_hash(str(who))) for _, rows in slices for v, who in rows)
            assert found == {name: n for name, n in all_rows.items() if shard_of(name[0], SHARDS) == shard}


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 100)), min_size=1), st.integers(1, 50))
def test_a_share_holds_what_fits_in_memory(groups: list[tuple[int, int]], rows_max: int) -> None:
    rows = Counter[int]()
    for bucket, number in groups:
        rows[bucket] += number
    shares = shares_of([(bucket, 8, number) for bucket, number in groups], rows_max)
    for share in shares:
        assert sum(rows[bucket] for bucket in share.buckets) <= rows_max * share.parts
        # What is told apart by viewer is read again for each part: no more than has to be.
        assert share.parts == 1 or len(share.buckets) == 1
    assert sorted(bucket for share in shares if not share.part for bucket in share.buckets) == list(range(8))


def test_a_slice_has_as_many_buckets_as_its_rows_fill() -> None:
    assert [buckets_for(rows, 16) for rows in (0, 1, 200_000, 300_000, 2_000_000, 4_000_000)] == [1, 1, 1, 2, 8, 16]
    assert buckets_for(1 << 62, 16) == BUCKETS_MAX
