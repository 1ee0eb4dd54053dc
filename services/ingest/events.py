"""From a request's body to valid events: JSON, NDJSON or an Avro object container. Knows no HTTP, no Kafka.

A body that cannot be read at all raises BodyError; a bad event among good ones becomes a Rejection, and the
others go on. Every format ends in the same `ViewEvent` and the same checks (services.ingest.packing has those
that need bytes).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from schemas.kinds import KIND_BYTES_MAX
from services.ingest.container import ContainerError, read_container

VIDEO_ID_BYTES_MAX = 64
VIEWER_ID_BYTES_MAX = 64
COUNTRY_BYTES_MAX = 64
DEVICE_BYTES_MAX = 64

T = TypeVar("T")


class ViewEvent(msgspec.Struct, gc=False):
    """One event as a client sends it. Lengths are in characters here; the limits in bytes are packing's."""

    video_id: Annotated[str, Meta(min_length=1, max_length=VIDEO_ID_BYTES_MAX)]
    event_id: UUID | None = None
    viewed_at: int | Annotated[datetime, Meta(tz=True)] | None = None
    kind: Annotated[str, Meta(min_length=1, max_length=KIND_BYTES_MAX)] = "view"
    viewer_id: Annotated[str, Meta(max_length=VIEWER_ID_BYTES_MAX)] | None = None
    country: Annotated[str, Meta(max_length=COUNTRY_BYTES_MAX)] | None = None
    device: Annotated[str, Meta(max_length=DEVICE_BYTES_MAX)] | None = None


class Rejection(msgspec.Struct, omit_defaults=False):
    """Why the event at `index` of the body was not taken; `field` is null when it is not about one field."""

    index: int
    field: str | None
    reason: str


class BodyError(ValueError):
    """Nothing in the body can be read; the text says why."""


@dataclass(slots=True)
class Parsed:
    """Valid events, the place of each in the body, and what was refused."""

    events: list[ViewEvent]
    indexes: Sequence[int]
    rejected: list[Rejection] = field(default_factory=list)


class _Body(msgspec.Struct, Generic[T]):
    events: list[T]


_BODY = msgspec.json.Decoder(_Body[ViewEvent])
_RAW_BODY = msgspec.json.Decoder(_Body[msgspec.Raw])
_EVENT = msgspec.json.Decoder(ViewEvent)
_MISSING = re.compile(r"missing required field `(\w+)`")
_AT = re.compile(r" - at `\$\.(\w+).*`$")


def parse_json(body: bytes) -> Parsed:
    """`{"events": [...]}`. BodyError when it is not that shape."""
    try:
        events = _BODY.decode(body).events
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _one_by_one(_raw_events(body))
    return Parsed(events, range(len(events)))


def parse_ndjson(body: bytes) -> Parsed:
    """One event a line; an event's index counts the lines that are not blank."""
    try:
        events = _EVENT.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _one_by_one([line for line in body.split(b"\n") if line.strip()])
    return Parsed(events, range(len(events)))


def parse_avro(body: bytes, *, unpacked_bytes_max: int) -> Parsed:
    """An Avro object container of ViewEvent, or of a flat record that resolves to it.

    Records after a place that cannot be decoded are refused together, by one Rejection at its index.
    """
    parsed = Parsed([], [])
    indexes: list[int] = []
    try:
        for index, record in enumerate(read_container(body, unpacked_bytes_max=unpacked_bytes_max)):
            try:
                parsed.events.append(msgspec.convert(record | {"event_id": UUID(bytes=record["event_id"])}, ViewEvent))
                indexes.append(index)
            except (msgspec.ValidationError, ValueError) as error:
                parsed.rejected.append(_rejection(index, error))
    except ContainerError as error:
        if error.index is None:
            raise BodyError(str(error)) from error
        parsed.rejected.append(Rejection(error.index, None, f"this event and all after it: {error}"))
    parsed.indexes = indexes
    return parsed


def _raw_events(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    try:
        return _RAW_BODY.decode(body).events
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        lenient = _raw_events_leniently(body)
        if lenient is None:
            raise BodyError(f'the body is not {{"events": [...]}} in JSON: {error}') from error
        return lenient


def _raw_events_leniently(body: bytes) -> list[bytes] | None:
    """The events as JSON, though a string in some is no UTF-8: msgspec refuses such a body as a whole.

    Half a surrogate pair or a wrong byte is kept as it was, so that its event alone is refused later.
    """
    try:
        events = json.loads(body.decode("utf-8", "surrogateescape"))["events"]
        return [
            json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
            for event in (events if isinstance(events, list) else None) or []
        ] or None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _one_by_one(raws: Sequence[bytes | msgspec.Raw]) -> Parsed:
    decode: Callable[[bytes | msgspec.Raw], ViewEvent] = _EVENT.decode
    events: list[ViewEvent] = []
    indexes: list[int] = []
    rejected: list[Rejection] = []
    for index, raw in enumerate(raws):
        try:
            events.append(decode(raw))
            indexes.append(index)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            rejected.append(_rejection(index, error))
    return Parsed(events, indexes, rejected)


def _rejection(index: int, error: Exception) -> Rejection:
    text = str(error)
    found = _MISSING.search(text) or _AT.search(text)
    return Rejection(index, found.group(1) if found else None, _AT.sub("", text))
