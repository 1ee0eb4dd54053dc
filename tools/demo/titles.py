"""The metadata of the demo's videos: made-up titles and channels."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from schemas.values import ms_of
from tools.metadata import VideoMetadata

CHANNELS = 100
FIRST_CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def demo_metadata(videos: Sequence[str]) -> Iterator[VideoMetadata]:
    """Metadata of these videos. Every tenth video has none, so that some stay without a title."""
    for number, video_id in enumerate(videos):
        if number % 10 == 9:
            continue
        channel = number % CHANNELS
        yield VideoMetadata(
            video_id,
            f"Part {number // CHANNELS + 1} of channel {channel}",
            f"channel-{channel:03d}",
            f"Channel {channel}",
            ms_of(FIRST_CREATED + timedelta(minutes=number)),
        )
