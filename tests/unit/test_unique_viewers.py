"""Viewers of a day: each once, and sketches that say about how many there were on several days."""

import pyarrow as pa
import pytest

from udfs.logic.audience import VIEWERS, viewer_hash
from udfs.logic.unique_viewers import VIEWERS_OF_DAY, merged_estimate, viewers_of_day


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
