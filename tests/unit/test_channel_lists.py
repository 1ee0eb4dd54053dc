"""Totals of channels and lists of their most viewed videos, against counts by hand; what older code carries on."""

import random
from collections import Counter, defaultdict

import msgspec
import pyarrow as pa
import pytest

from settings.durations import HOUR_MS
from udfs.logic.history.channel_sums import (
    CHANNEL_TOPS,
    CHANNEL_TOTALS,
    CHANNELS,
    channels,
    merged_tops,
    tops,
    totals,
)
from udfs.logic.history.manifest import ADDED, no_history, read_manifest
from udfs.logic.history.tables import HOURS, SUMS
from udfs.logic.ranking.lists import TOP

VIDEOS = [f"v{n:03}" for n in range(3 * TOP)]
# Every seventh video has no metadata, and the first channel has more videos than a list has places.
CHANNEL_OF = {video: "big" if n % 7 < 5 else f"c{n % 3}" for n, video in enumerate(VIDEOS) if n % 7 != 6}


@pytest.mark.parametrize("seed", range(5))
def test_lists_of_shards_merge_into_the_list_of_all(seed: int) -> None:
    rng = random.Random(seed)
    views = {(video, kind): rng.randrange(4) for video in VIDEOS for kind in ("like", "view")}
    shards = []
    for shard in range(3):
        rows = [
            {"video_id": video, "kind": kind, "views": number, "late_added": 0}
            for (video, kind), number in sorted(views.items())
            if VIDEOS.index(video) % 3 == shard
        ]
        shards.append(tops(pa.Table.from_pylist(rows, SUMS), CHANNEL_OF))
    found = merged_tops(shards)
    assert found.schema == CHANNEL_TOPS
    lists: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for (video, kind), number in views.items():
        if number and video in CHANNEL_OF:
            lists[CHANNEL_OF[video], kind].append((-number, video))
    wanted = [
        (channel, kind, rank, video, -number)
        for (channel, kind), of in sorted(lists.items())
        for rank, (number, video) in enumerate(sorted(of)[:TOP], start=1)
    ]
    assert [tuple(row.values()) for row in found.to_pylist()] == wanted
    assert max(Counter((channel, kind) for channel, kind, *_ in wanted).values()) == TOP


def test_no_video_of_a_channel_makes_an_empty_list() -> None:
    assert merged_tops([tops(SUMS.empty_table(), CHANNEL_OF)]).num_rows == 0


def test_a_total_has_each_hour_as_it_was_counted_last() -> None:
    rng = random.Random(1)

    def hour(at: int) -> pa.Table:
        rows = [
            {"video_id": video, "kind": "view", "hour": at * HOUR_MS, "views": rng.randrange(9), "late_added": 1}
            for video in sorted(rng.sample(VIDEOS, 20))
        ]
        return channels(pa.Table.from_pylist(rows, HOURS), CHANNEL_OF)

    first = {at: hour(at) for at in range(6)}
    again = {at: hour(at) for at in (2, 4, 7)}
    before = totals(CHANNEL_TOTALS.empty_table(), (), first.values())
    after = totals(before, [first[2], first[4]], again.values())
    wanted: Counter[str] = Counter()
    for table in (first | again).values():
        assert table.schema == CHANNELS
        for row in table.to_pylist():
            wanted[row["channel_id"]] += row["views"]
    assert {row["channel_id"]: row["views"] for row in after.to_pylist() if row["views"]} == +wanted


def test_what_older_code_has_carried_on_is_not_believed() -> None:
    manifest = no_history(2)
    for data_set in (*ADDED, "totals"):
        manifest.files[data_set][0] = {0: f"{data_set}/run-00000000000000000001-a.parquet"}
    assert read_manifest(msgspec.json.encode(manifest)).files == manifest.files
    # Older code knows no such field, and writes none.
    of_older = msgspec.to_builtins(manifest, str_keys=True)
    del of_older["has_kinds"]
    found = read_manifest(msgspec.json.encode(of_older)).files
    assert found == manifest.files | {key: {} for key in ADDED}
