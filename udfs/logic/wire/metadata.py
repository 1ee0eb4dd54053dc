"""What is known of a video: reads records of the metadata topic, trusting nothing.

An `about` is the part of a VideoMetadata datum that follows the video_id, as it came: title, channel_id, channel_name
and created_at in Avro. It is kept, compared and sent on unread, and read only where a table wants columns.
"""

from typing import Any, NamedTuple

import fastavro

from schemas.limits import ABOUT_BYTES_MAX, VIDEO_ID_BYTES_MAX
from udfs.logic.wire.keyed_records import Keyed, Refusal, read_keyed, read_whole

# What CQL's timestamp and every reader's calendar hold: the years 1 to 9999.
CREATED_MS_MIN = -62_135_596_800_000
CREATED_MS_MAX = 253_402_300_799_999
# Of VideoMetadata, with the time as a plain number.
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


class About(NamedTuple):
    """An about, read; `created_ms` in ms since 1970, the texts in UTF-8."""

    title: bytes
    channel_id: bytes
    channel_name: bytes
    created_ms: int


def read_metadata(key: bytes | None, value: bytes | None) -> Keyed | Refusal:
    """Reads one record of the metadata topic: (video_id, about). Never raises for what the bytes say."""
    found = read_keyed("VideoMetadata", key, value, VIDEO_ID_BYTES_MAX)
    if isinstance(found, Refusal) or found.rest is None:
        return found
    try:
        created_ms = read_about(found.rest).created_ms
    # Whatever a decoder meets in bytes that are not what they say they are.
    except Exception:
        return Refusal.UNREADABLE
    if len(found.rest) > ABOUT_BYTES_MAX:
        return Refusal.TOO_LONG
    if not CREATED_MS_MIN <= created_ms <= CREATED_MS_MAX:
        return Refusal.TIME_OUT_OF_RANGE
    return found


def read_about(about: bytes) -> About:
    """The fields of an about. Raises as `read_whole`."""
    found: dict[str, Any] = read_whole(_ABOUT, about)
    return About(
        found["title"].encode(), found["channel_id"].encode(), found["channel_name"].encode(), found["created_at"]
    )
