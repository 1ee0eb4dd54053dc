"""Viewers of a day: each once, and sketches that say about how many there were on several days."""

from collections.abc import Sequence

import pyarrow as pa
import pytest
from datasketches import hll_sketch, hll_union

from udfs.logic.history.sketches import LG_K
from udfs.logic.history.unique_viewers import VIEWERS_OF_DAY, ViewersOfDay
from udfs.logic.history.viewer_days import viewer_days
from udfs.logic.slices.audience import VIEWERS, viewer_hash
from udfs.logic.slices.viewer_buckets import Share, rows_of


def merged_estimate(sketches: Sequence[bytes]) -> float:
    """As a reader of Parquet merges the sketches of several days."""
    union = hll_union(LG_K)
    for sketch in sketches:
        union.update(hll_sketch.deserialize(sketch))
    return float(union.get_estimate())


def of_slice(views: list[tuple[str, str, str]], hour: int = 5) -> pa.Table:
    """(video, kind, viewer), as a slice has them."""
    rows = [
        {
            "shard": 0,
            "hour": hour,
            "kind": kind,
            "video_id": video,
            "minute": hour * 60,
            "viewer": viewer_hash(viewer),
            "views": 1,
        }
        for video, kind, viewer in views
    ]
    return pa.Table.from_pylist(rows, VIEWERS).drop_columns(["shard", "hour"])


def viewers_of_day(tables: Sequence[pa.Table], parts: int = 1) -> pa.Table:
    day = ViewersOfDay()
    for part in range(parts):
        day.add(viewer_days([rows_of(table, Share(range(1), 1, part, parts), shards=1) for table in tables]))
    return day.table()


def test_a_viewer_counts_once_a_day_for_a_video_and_kind() -> None:
    table = viewers_of_day(
        [
            of_slice([("b", "view", "ann"), ("a", "view", "ann"), ("a", "view", "bob"), ("a", "like", "bob")]),
            of_slice([("a", "view", "ann"), ("a", "view", "eve")], hour=9),
        ]
    )
    assert table.schema == VIEWERS_OF_DAY
    found = [(row["video_id"], row["kind"], row["viewers"]) for row in table.to_pylist()]
    assert found == [("a", "like", 1), ("a", "view", 3), ("b", "view", 1)]
    assert [round(merged_estimate([row["sketch"]])) for row in table.to_pylist()] == [1, 3, 1]
    assert viewers_of_day([]).equals(VIEWERS_OF_DAY.empty_table())


def test_each_of_many_videos_has_its_own_viewers_in_its_sketch() -> None:
    numbers = {(f"v{n:02}", kind): n % 13 + 1 for n in range(60) for kind in ("like", "view")}
    views = [(*name, f"{name} {viewer}") for name, viewers in numbers.items() for viewer in range(viewers)]
    rows = viewers_of_day([of_slice(views)]).to_pylist()
    assert [((row["video_id"], row["kind"]), row["viewers"]) for row in rows] == list(numbers.items())
    for row in rows:
        mine = of_slice([view for view in views if view[:2] == (row["video_id"], row["kind"])])
        alone = viewers_of_day([mine])["sketch"][0].as_py()
        assert round(merged_estimate([row["sketch"]])) == row["viewers"]
        assert round(merged_estimate([row["sketch"], alone])) == row["viewers"]


def test_sketches_of_days_say_about_how_many_there_were_on_all_of_them() -> None:
    """8,000 on one day and on the next, half of them the same; the error is 1.6%, and three times that allowed."""
    days = [
        viewers_of_day([of_slice([("a", "view", f"v{n}") for n in range(first, first + 8000)])]) for first in (0, 4000)
    ]
    assert [day["viewers"].to_pylist() for day in days] == [[8000], [8000]]
    sketches = [day["sketch"][0].as_py() for day in days]
    assert merged_estimate(sketches) == pytest.approx(12_000, rel=0.05)
    assert max(map(len, sketches)) < 2200


def test_a_day_counted_in_parts_has_the_same_viewers() -> None:
    views = [(f"v{n % 7}", "view", f"{n % 100}") for n in range(2000)]
    whole, parted = viewers_of_day([of_slice(views)]), viewers_of_day([of_slice(views[:900]), of_slice(views[500:])], 3)
    assert parted.drop_columns(["sketch"]).equals(whole.drop_columns(["sketch"]))
    assert whole["viewers"].to_pylist() == [100] * 7
    assert [round(merged_estimate([sketch])) for sketch in parted["sketch"].to_pylist()] == [100] * 7


def test_viewers_whom_the_beginning_of_a_hash_does_not_tell_apart_are_several() -> None:
    """As many as lie between: the sketch's own error is beside the point here."""
    hashes = [bytes([0, 0, 0, 0, 0, 0, 0, 1]) + bytes([n % 5]) + bytes(7) for n in range(50)]
    table = of_slice([("a", "view", "")] * 50)
    table = table.set_column(
        table.schema.get_field_index("viewer"), VIEWERS.field("viewer"), pa.array(hashes, pa.binary(16))
    )
    days = viewer_days([table.slice(0, 20), table.slice(20)])
    assert (len(days.viewer), days.views.tolist()) == (5, [10] * 5)
