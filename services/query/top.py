"""Lists of top videos, put together from the lists of shards. Pure; knows no table and no HTTP.

A shard that ranks not all of its kinds says which ones it has ranked, and how many events the most frequent of the
others has. So a list is known to be exact, or not to be.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas.kinds import OF_KINDS

MINUTES_TO_SETTLE = timedelta(minutes=2)


class About(NamedTuple):
    """What is known of a video; `created_at` is a naive UTC time."""

    title: str
    channel_id: str
    channel_name: str
    created_at: datetime


class ShardTop(NamedTuple):
    """A row of top_videos; `minute` is a naive UTC time, a video is (video_id, views, views before)."""

    minute: datetime
    shard: int
    videos: Sequence[tuple[str, int, int]]
    about: Mapping[str, tuple[str, str, str, datetime]] | None = None


class TopVideo(NamedTuple):
    """A place in a merged list; `about` is None while nothing is known of the video."""

    video_id: str
    views: int
    before: int
    about: About | None


class MergedTop(NamedTuple):
    """The first videos of all shards at `minute`; `left_out` is how many shards may have others of this kind."""

    minute: datetime | None
    videos: list[TopVideo]
    left_out: int


def merge_top(
    rows: Sequence[ShardTop], kinds: Sequence[ShardTop] = (), *, kind: str, by_growth: bool, limit: int
) -> MergedTop:
    """The merged list of the newest minute, or of one just before it that more shards have.

    Shards write their lists one after another: until all have, the minute before is the one to show. `kinds` are the
    lists of kinds of the same minutes, of those shards that left any out.
    """
    shards: dict[datetime, dict[int, ShardTop]] = {}
    for row in rows:
        # What is known comes after the list, and alone when the list has expired.
        if row.videos is not None:
            shards.setdefault(row.minute, {})[row.shard] = row
    silent = [row for row in kinds if row.videos is not None and kind not in {name for name, *_ in row.videos}]
    if not shards:
        newest = max((row.minute for row in silent), default=None)
        return MergedTop(None, [], len({row.shard for row in silent if row.minute == newest}))
    newest = max(shards)
    minute = max((at for at in shards if newest - at <= MINUTES_TO_SETTLE), key=lambda at: (len(shards[at]), at))
    videos = []
    for row in shards[minute].values():
        known = row.about or {}
        videos += [TopVideo(*video, About(*known[video[0]]) if video[0] in known else None) for video in row.videos]
    videos.sort(key=lambda video: (-_score(video, by_growth=by_growth), video.video_id))
    videos = videos[:limit]
    # No video of a kind that was left out has more views, or has grown by more, than the most frequent of those kinds
    # has events: below a full list it changes nothing.
    last = _score(videos[-1], by_growth=by_growth) if len(videos) == limit else 0
    at_minute = {row.shard for row in silent if row.minute == minute and _left_out_events(row) >= last}
    # There would be a newer list, had they ranked the kind.
    since = {row.shard for row in silent if row.minute > newest + MINUTES_TO_SETTLE}
    return MergedTop(minute.replace(tzinfo=UTC), videos, len(at_minute | since))


def _score(video: TopVideo, *, by_growth: bool) -> int:
    return video.views - video.before * by_growth


def _left_out_events(kinds: ShardTop) -> int:
    return max((events for name, events, _ in kinds.videos if name == OF_KINDS), default=0)
