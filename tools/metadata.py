"""Publishes video metadata, given as lines of JSON, to the metadata topic."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from connectors.compacted_topic import write
from schemas import registry
from schemas.values import ValueFormError, time_ms
from settings import KafkaSettings
from udfs.logic.wire.keyed_records import Refusal
from udfs.logic.wire.metadata import read_metadata


class BadLineError(ValueError):
    """A line that cannot be published. The text names the line and what is wrong."""


class VideoMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """The metadata of one video. `created_at` is text in RFC 3339 with an offset, or ms since 1970."""

    video_id: Annotated[str, Meta(min_length=1)]
    title: str
    channel_id: str
    channel_name: str
    created_at: int | str


_DECODER = msgspec.json.Decoder(VideoMetadata)


def read_lines(lines: Iterable[bytes]) -> Iterator[VideoMetadata]:
    """The metadata of each line that is not blank. Raises BadLineError."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found = _DECODER.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BadLineError(f"line {number}: {error}") from error
            if isinstance(found.created_at, str):
                try:
                    found.created_at = time_ms(found.created_at)
                except ValueFormError as error:
                    raise BadLineError(f"line {number}: created_at={found.created_at!r:.80}: {error}") from error
            if isinstance(refusal := read_metadata(*_record(found)), Refusal):
                raise BadLineError(f"line {number}: video_id={found.video_id!r:.80}: {refusal.value}")
            yield found


def publish(kafka: KafkaSettings, videos: Iterable[VideoMetadata]) -> int:
    """Write the metadata to the topic, and return for how many videos. Raises as connectors.compacted_topic.write."""
    return write(kafka, kafka.metadata_topic, map(_record, videos)).number


def _record(video: VideoMetadata) -> tuple[bytes, bytes]:
    return video.video_id.encode(), registry.encode("VideoMetadata", msgspec.structs.asdict(video))
