"""Views by channel, from hours of shards."""

from datetime import UTC, datetime

import pyarrow as pa

from udfs.logic.history.channel_sums import CHANNELS, channels, merged
from udfs.logic.history.tables import HOURS

HOUR = datetime(2026, 1, 31, 22, tzinfo=UTC)
CHANNEL_OF = {"a": "news", "b": "news", "c": "music"}


def hour(rows: list[tuple[str, str, int, int]]) -> pa.Table:
    names = ("video_id", "kind", "views", "late_added")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) | {"hour": HOUR} for row in rows], HOURS)


def row(channel: str, kind: str, views: int, late: int) -> dict[str, object]:
    return {"channel_id": channel, "kind": kind, "hour": HOUR, "views": views, "late_added": late}


def test_videos_count_for_their_channel_and_those_of_none_for_none() -> None:
    one = channels(
        hour([("a", "view", 3, 1), ("b", "view", 4, 0), ("c", "like", 2, 2), ("d", "view", 9, 0)]), CHANNEL_OF
    )
    assert one.schema == CHANNELS
    assert one.to_pylist() == [row("music", "like", 2, 2), row("news", "view", 7, 1)]
    other = channels(hour([("b", "view", 1, 1), ("b", "like", 1, 0)]), CHANNEL_OF)
    together = [row("music", "like", 2, 2), row("news", "like", 1, 0), row("news", "view", 8, 2)]
    assert merged([one, other]).to_pylist() == together
    assert channels(hour([("d", "view", 1, 0)]), CHANNEL_OF).equals(CHANNELS.empty_table())
    assert channels(hour([]), {}).equals(CHANNELS.empty_table())
