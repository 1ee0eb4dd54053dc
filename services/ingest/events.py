"""From a request's body to valid events: JSON, NDJSON or an Avro object container. Knows no HTTP, no Kafka.

A body that cannot be read at all raises BodyError; a bad event among good ones becomes a Rejection, and the
others go on. Every format ends in the same `ViewEvent` and the same checks (services.ingest.packing has those
that need bytes).
"""

import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from schemas import values
from schemas.fields import EVENT_FIELDS, first_meant, meant, misspelt
from schemas.limits import (
    COUNTRY_BYTES_MAX,
    DEVICE_BYTES_MAX,
    KIND_BYTES_MAX,
    VIDEO_ID_BYTES_MAX,
    VIEWER_ID_BYTES_MAX,
)
from services.ingest.container import ContainerError, read_container

# Of the names that an answer lists as ignored: how many, and how much of each.
IGNORED_NAMES_MAX = 32
IGNORED_NAME_LENGTH_MAX = 64

T = TypeVar("T")


class ViewEvent(msgspec.Struct, gc=False):
    """One event as a client sends it. Lengths are in characters here; the limits in bytes are packing's.

    A time that is text is left to packing: the decoder's own would be rounded.
    """

    video_id: Annotated[str, Meta(min_length=1, max_length=VIDEO_ID_BYTES_MAX)]
    event_id: UUID | None = None
    viewed_at: int | str | None = None
    kind: Annotated[str, Meta(min_length=1, max_length=KIND_BYTES_MAX)] = "view"
    viewer_id: Annotated[str, Meta(max_length=VIEWER_ID_BYTES_MAX)] | None = None
    country: Annotated[str, Meta(max_length=COUNTRY_BYTES_MAX)] | None = None
    device: Annotated[str, Meta(max_length=DEVICE_BYTES_MAX)] | None = None


class _StrictEvent(ViewEvent, gc=False, forbid_unknown_fields=True):
    """One that has no other fields: what nearly all are, and the fastest to read."""


class Rejection(msgspec.Struct, omit_defaults=False):
    """Why the event at `index` of the body was not taken; `field` is null when it is not about one field."""

    index: int
    field: str | None
    reason: str


class BodyError(ValueError):
    """Nothing in the body can be read; the text says why."""


@dataclass(slots=True)
class Parsed:
    """Valid events, the place of each in the body, what was refused, and names of fields that nobody knows."""

    events: Sequence[ViewEvent]
    indexes: Sequence[int]
    rejected: list[Rejection] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


class _Body(msgspec.Struct, Generic[T]):
    events: list[T]


_Fields = dict[str, msgspec.Raw]
_STRICT_BODY = msgspec.json.Decoder(_Body[_StrictEvent])
_BODY = msgspec.json.Decoder(_Body[ViewEvent])
_FIELDS_BODY = msgspec.json.Decoder(_Body[_Fields])
_RAW_BODY = msgspec.json.Decoder(_Body[msgspec.Raw])
_STRICT_EVENT = msgspec.json.Decoder(_StrictEvent)
_EVENT = msgspec.json.Decoder(ViewEvent)
_FIELDS_EVENT = msgspec.json.Decoder(_Fields)
_ANY = msgspec.json.Decoder(dict[str, Any])
_KNOWN = frozenset(EVENT_FIELDS)
_MISSING = re.compile(r"missing required field `(\w+)`")
_AT = re.compile(r" - at `\$\.(\w+).*`$")


class _FieldError(ValueError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def parse_json(body: bytes) -> Parsed:
    """`{"events": [...]}`. BodyError when it is not that shape."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        events = _STRICT_BODY.decode(body).events
        return Parsed(events, range(len(events)))
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, _FieldError):
        ignored = _unknown(_FIELDS_BODY.decode(body).events)
        more = _BODY.decode(body).events
        return Parsed(more, range(len(more)), ignored=ignored)
    return _one_by_one(_raw_events(body))


def parse_ndjson(body: bytes) -> Parsed:
    """One event a line; an event's index counts the lines that are not blank."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        events = _STRICT_EVENT.decode_lines(body)
        return Parsed(events, range(len(events)))
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, _FieldError):
        ignored = _unknown(_FIELDS_EVENT.decode_lines(body))
        more = _EVENT.decode_lines(body)
        return Parsed(more, range(len(more)), ignored=ignored)
    return _one_by_one([line for line in body.split(b"\n") if line.strip()])


def parse_avro(body: bytes, *, unpacked_bytes_max: int) -> Parsed:
    """An Avro object container of ViewEvent, or of a flat record that resolves to it.

    Records after a place that cannot be decoded are refused together, by one Rejection at its index.
    """
    events: list[ViewEvent] = []
    indexes: list[int] = []
    parsed = Parsed(events, indexes)
    try:
        container = read_container(body, unpacked_bytes_max=unpacked_bytes_max)
        parsed.ignored = _ignored(container.unknown)
        for index, record in enumerate(container.records):
            own = {"event_id": UUID(bytes=record["event_id"]), "viewed_at": values.ms_of(record["viewed_at"])}
            try:
                events.append(msgspec.convert(record | own, ViewEvent))
                indexes.append(index)
            except (msgspec.ValidationError, ValueError) as error:
                parsed.rejected.append(_rejection(index, error))
    except ContainerError as error:
        if error.index is None:
            raise BodyError(str(error)) from error
        parsed.rejected.append(Rejection(error.index, None, f"this event and all after it: {error}"))
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
    events: list[ViewEvent] = []
    indexes: list[int] = []
    rejected: list[Rejection] = []
    unknown: dict[str, None] = {}
    for index, raw in enumerate(raws):
        try:
            events.append(_event(raw, unknown))
            indexes.append(index)
        except _FieldError as error:
            rejected.append(Rejection(index, error.name[:IGNORED_NAME_LENGTH_MAX], str(error)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            rejected.append(_rejection(index, error))
    return Parsed(events, indexes, rejected, _ignored(unknown))


def _event(raw: bytes | msgspec.Raw, unknown: dict[str, None]) -> ViewEvent:
    """The event, with names that are not known added to `unknown`; also with an id in a form that is rare."""
    try:
        return _STRICT_EVENT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            fields = _ANY.decode(raw)
        # What is no object is better told by what was expected.
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise error from None
    if (found := first_meant(fields)) is not None:
        raise _FieldError(found[0], misspelt(*found))
    known = {name: fields.pop(name) for name in EVENT_FIELDS if name in fields}
    if isinstance(known.get("event_id"), str):
        try:
            known["event_id"] = values.event_id(known["event_id"])
        except values.ValueFormError as form:
            raise _FieldError("event_id", str(form)) from form
    event = msgspec.convert(known, ViewEvent)
    if len(unknown) < IGNORED_NAMES_MAX:
        unknown.update(dict.fromkeys(fields))
    return event


def _unknown(events: Iterable[_Fields]) -> list[str]:
    """Names that are not known. Raises _FieldError when one was meant to be another."""
    found: dict[str, None] = {}
    for fields in events:
        for name in fields:
            if name not in _KNOWN and name not in found:
                if (known := meant(name)) is not None:
                    raise _FieldError(name, misspelt(name, known))
                if len(found) < IGNORED_NAMES_MAX:
                    found[name] = None
    return _ignored(found)


def _ignored(names: Iterable[str]) -> list[str]:
    return sorted({name[:IGNORED_NAME_LENGTH_MAX] for name in names})[:IGNORED_NAMES_MAX]


def _rejection(index: int, error: Exception) -> Rejection:
    text = str(error)
    found = _MISSING.search(text) or _AT.search(text)
    return Rejection(index, found.group(1) if found else None, _AT.sub("", text))
