"""Makes lists of top videos: the stream's, merged from the lists of all shards, and the rollup's. Pure; no HTTP.

A shard that does not rank all of its kinds writes which kinds it has ranked, and how many events the most frequent of
the other kinds has. So it is always known whether a merged list is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from schemas.kinds import OF_KINDS

MINUTES_TO_SETTLE = timedelta(minutes=2)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class TopQuestion:
    """Asks for the first `limit` videos of `kind` and `span` at the minute `at`; None asks for the newest list."""

    kind: str
    span: str
    limit: int
    at: datetime | None


@dataclass(frozen=True)
class ClosedTopQuestion:
    """Asks for the rollup's list of the hour or day that begins at `start`; None asks for the newest list.

    The list is that of a country, or of a channel. Asked for are `limit` places after the first `skip` ones. `revision`
    is that of the history whose list had those; None without them.
    """

    kind: str
    span: str
    country: str
    limit: int
    start: datetime | None
    channel: str | None = None
    skip: int = 0
    revision: int | None = None

    @property
    def is_of_day(self) -> bool:
        """Whether the list is of a day, and not of an hour of the clock."""
        return self.span == "day"


class VideoMetadata(NamedTuple):
    """The metadata of a video. `created_at` is naive UTC."""

    title: str
    channel_id: str
    channel_name: str
    created_at: datetime


class ShardTop(NamedTuple):
    """A row of top_videos. `minute` is naive UTC, a video is (video_id, views, views before), `about` is by video."""

    minute: datetime
    shard: int
    videos: Sequence[tuple[str, int, int]]
    about: Mapping[str, tuple[str, str, str, datetime]] | None = None


class TopVideo(NamedTuple):
    """A place in a list. `about` is None for a video without metadata."""

    video_id: str
    views: int
    before: int
    about: VideoMetadata | None


class MergedTop(NamedTuple):
    """The first videos of all shards at `minute`, which is None if there is no list.

    `left_out` is the number of shards that did not rank the kind and whose videos could be in the list.
    """

    minute: datetime | None
    videos: list[TopVideo]
    left_out: int


class ClosedTop(NamedTuple):
    """A whole list of the rollup: of the hour or day that begins at `start`, of the views before `complete_through`."""

    start: datetime
    complete_through: datetime
    videos: list[TopVideo]


def merge_top(
    rows: Sequence[ShardTop], kinds: Sequence[ShardTop] = (), *, kind: str, by_growth: bool, limit: int
) -> MergedTop:
    """The merged list of the newest minute, or of a minute just before it that more shards have.

    Shards write their lists one after another. Until all of them have written the newest minute, the list of the minute
    before is shown. `kinds` are the lists of ranked kinds of the same minutes, from the shards that left any kind out.
    """
    shards: dict[datetime, dict[int, ShardTop]] = {}
    for row in rows:
        # Metadata is written after the list, so it remains alone in the row for a while when the list has expired.
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
        videos += [
            TopVideo(*video, VideoMetadata(*known[video[0]]) if video[0] in known else None) for video in row.videos
        ]
    videos.sort(key=lambda video: (-_score(video, by_growth=by_growth), video.video_id))
    videos = videos[:limit]
    # No video of a kind that was left out has more views, or more growth, than the most frequent of those kinds has
    # events. If that number is below the last place of a full list, the kind cannot change the list.
    last = _score(videos[-1], by_growth=by_growth) if len(videos) == limit else 0
    at_minute = {row.shard for row in silent if row.minute == minute and _left_out_events(row) >= last}
    # These would have a newer list if they had ranked the kind.
    since = {row.shard for row in silent if row.minute > newest + MINUTES_TO_SETTLE}
    return MergedTop(minute.replace(tzinfo=UTC), videos, len(at_minute | since))


def closed_top(question: ClosedTopQuestion, rows: Sequence[Any]) -> ClosedTop:
    """The newest of these rows of top_videos_by_hour or top_videos_by_day, of which there is at least one."""
    newest = max(rows, key=lambda row: row.start)
    videos = [TopVideo(video, views, 0, None) for video, views in newest.videos]
    if question.is_of_day:
        start = datetime.combine(newest.start.date(), time(), UTC)
        return ClosedTop(start, newest.complete_through.replace(tzinfo=UTC), videos)
    start = newest.start.replace(tzinfo=UTC)
    return ClosedTop(start, start + HOUR, videos)


def _score(video: TopVideo, *, by_growth: bool) -> int:
    return video.views - video.before * by_growth


def _left_out_events(kinds: ShardTop) -> int:
    return max((events for name, events, _ in kinds.videos if name == OF_KINDS), default=0)
