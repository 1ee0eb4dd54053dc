"""Reads records of the topic of video metadata, and trusts none of them.

An `about` is the part of a VideoMetadata datum that follows the video_id, unchanged: title, channel_id, channel_name
and created_at in Avro. It is kept, compared and sent on as bytes, and decoded only where a table needs its columns.
"""

from typing import Any, NamedTuple

import fastavro

from schemas.limits import ABOUT_BYTES_MAX, VIDEO_ID_BYTES_MAX
from udfs.logic.wire.keyed_records import Keyed, Refusal, read_keyed, read_whole

# The years 1 to 9999, which CQL's timestamp and every reader's calendar can hold.
CREATED_MS_MIN = -62_135_596_800_000
CREATED_MS_MAX = 253_402_300_799_999
# The fields of VideoMetadata after the video_id, with the time as a plain number.
_ABOUT = fastavro.parse_schema(
    {
        "type": "record",
        "name": "AboutInMilliseconds",
        "fields": [
            {"name": "title", "type": "string"},
            {"name": "channel_id", "type": "string"},
            {"name": "channel_name", "type": "string"},
            {"name": "created_at", "type": "long"},
        ],
    }
)


class VideoMetadata(NamedTuple):
    """The metadata of one video, decoded. `created_ms` is in ms since 1970, the texts are UTF-8."""

    title: bytes
    channel_id: bytes
    channel_name: bytes
    created_ms: int


def read_metadata(key: bytes | None, value: bytes | None) -> Keyed | Refusal:
    """Read one record of the metadata topic: (video_id, about). No content makes it raise."""
    found = read_keyed("VideoMetadata", key, value, VIDEO_ID_BYTES_MAX)
    if isinstance(found, Refusal) or found.rest is None:
        return found
    try:
        created_ms = decode_metadata(found.rest).created_ms
    # A decoder may raise anything for bytes that are not of its schema.
    except Exception:
        return Refusal.UNREADABLE
    if len(found.rest) > ABOUT_BYTES_MAX:
        return Refusal.TOO_LONG
    if not CREATED_MS_MIN <= created_ms <= CREATED_MS_MAX:
        return Refusal.TIME_OUT_OF_RANGE
    return found


def decode_metadata(about: bytes) -> VideoMetadata:
    """Decode an about. Raises what `read_whole` raises."""
    found: dict[str, Any] = read_whole(_ABOUT, about)
    return VideoMetadata(
        found["title"].encode(), found["channel_id"].encode(), found["channel_name"].encode(), found["created_at"]
    )
