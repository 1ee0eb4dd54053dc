"""Reads valid events from a request's body: JSON, NDJSON or an Avro object container. Knows no HTTP and no Kafka.

A body that cannot be read at all raises BodyError. A bad event among good ones becomes a Rejection, and the others go
on. Every format ends in the same `ViewEvent` and the same checks; services.ingest.packing has the checks that need
bytes. The docstrings and descriptions of SentEvent and EventsBody are part of the OpenAPI description.
"""

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from schemas import values
from schemas.event_ids import event_id
from schemas.fields import AGENT_FIELD, EVENT_FIELDS, first_meant, meant, misspelt
from schemas.limits import (
    COUNTRY_BYTES_MAX,
    DEVICE_BYTES_MAX,
    EVENT_ID_BYTES_MAX,
    KIND_BYTES_MAX,
    VIDEO_ID_BYTES_MAX,
    VIEWER_ID_BYTES_MAX,
)
from schemas.values import TIME_END_MS, TIME_MIN_MS
from services.ingest.container import ContainerError, read_container
from services.ingest.idempotency import RequestKey
from services.ingest.rejections import FieldError, Rejection, rejection, too_many

# How many names of unknown fields an answer lists, and how many characters of each.
IGNORED_NAMES_MAX = 32
IGNORED_NAME_LENGTH_MAX = 64
# A body may have so many values of any size, and then one for so many bytes. The shortest event in JSON has 16 bytes.
VALUES_MIN = 100_000
VALUE_BYTES_MIN = 4

T = TypeVar("T")


# The decoder checks lengths in characters, packing checks them in bytes. A `viewed_at` that is text is left to packing,
# because the decoder would round the time.
class ViewEvent(msgspec.Struct, gc=False):
    """One event whose id is a UUID, or None if the service makes one."""

    video_id: Annotated[
        str, Meta(min_length=1, max_length=VIDEO_ID_BYTES_MAX, description=f"1 to {VIDEO_ID_BYTES_MAX} bytes of UTF-8")
    ]
    # What an id may be is said below: a UUID, or a text of which one is made.
    event_id: Any = None
    viewed_at: Annotated[
        int | str | None,
        Meta(
            description="RFC 3339 with an offset, cut off to the ms, or ms since 1970. Required with an event_id, "
            "unless that is a UUIDv7, whose time is used. Without an event_id it is now by default."
        ),
    ] = None
    kind: Annotated[
        str, Meta(min_length=1, max_length=KIND_BYTES_MAX, description=f"1 to {KIND_BYTES_MAX} bytes of UTF-8")
    ] = "view"
    viewer_id: Annotated[str, Meta(max_length=VIEWER_ID_BYTES_MAX)] | None = None
    country: Annotated[str, Meta(max_length=COUNTRY_BYTES_MAX)] | None = None
    device: Annotated[str, Meta(max_length=DEVICE_BYTES_MAX)] | None = None
    # A long text is no fault of the viewer, so that it has no limit besides the body's.
    user_agent: Annotated[
        str | None,
        Meta(
            description="The User-Agent of the viewer's program. Only its class is kept: browser, bot or unknown. "
            "Without it, the header counts for publishable keys."
        ),
    ] = None


class _UuidEvent(ViewEvent, gc=False):
    event_id: UUID | None = None


class _StrictUuidEvent(_UuidEvent, gc=False, forbid_unknown_fields=True):
    """An event without other fields and with a UUID, as nearly all are. It is the fastest to decode."""


class SentEvent(ViewEvent, gc=False):
    """One event as a client sends it."""

    event_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=EVENT_ID_BYTES_MAX)] | None,
        Meta(
            description="The same id is the same event. If it is absent, the service makes one. A UUID is itself. Any "
            f"other text of 1 to {EVENT_ID_BYTES_MAX} bytes is an id within the project of the sender."
        ),
    ] = None


class _StrictSentEvent(SentEvent, gc=False, forbid_unknown_fields=True):
    """An event without other fields."""


class BodyError(ValueError):
    """Nothing in the body can be read. The text says why."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all events of a request.

    Texts are ids within the project. `key` is the Idempotency-Key. If `is_strict`, unknown fields are refused.
    """

    project: str
    key: RequestKey | None = None
    is_strict: bool = False


@dataclass(slots=True)
class Parsed:
    """Valid events, the place of each in the body, what was rejected, and the names of unknown fields.

    `is_bounded` says that some event has neither an id nor a time, and that its Idempotency-Key has no time either.
    `sent_at_ms` is when the body was sent, by its sender's clock; None if the body does not say.
    """

    events: Sequence[ViewEvent]
    indexes: Sequence[int]
    rejected: list[Rejection] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    is_bounded: bool = False
    sent_at_ms: int | None = None

    def without(self, refusal: Callable[[ViewEvent, int], Rejection | None]) -> "Parsed":
        """The same with those events rejected for which `refusal(event, index)` gives a rejection."""
        kept: list[tuple[ViewEvent, int]] = []
        rejected: list[Rejection] = []
        for event, index in zip(self.events, self.indexes, strict=True):
            found = refusal(event, index)
            if found is None:
                kept.append((event, index))
            else:
                rejected.append(found)
        if not rejected:
            return self
        events, indexes = [event for event, _ in kept], [index for _, index in kept]
        return replace(self, events=events, indexes=indexes, rejected=self.rejected + rejected)


class _Body(msgspec.Struct, Generic[T]):
    events: list[T]
    sent_at: Any = None


class EventsBody(msgspec.Struct):
    """The body of a request in JSON."""

    events: list[SentEvent]
    sent_at: Annotated[
        int | str | None,
        Meta(
            description="The time now by the sender's clock, as RFC 3339 with an offset or ms since 1970. It changes "
            "no event: the answer says how wrong the clock is."
        ),
    ] = None


_Fields = dict[str, msgspec.Raw]
_STRICT_BODY = msgspec.json.Decoder(_Body[_StrictUuidEvent])
_STRICT_SENT_BODY = msgspec.json.Decoder(_Body[_StrictSentEvent])
_BODY = msgspec.json.Decoder(_Body[_UuidEvent])
_FIELDS_BODY = msgspec.json.Decoder(_Body[_Fields])
_RAW_BODY = msgspec.json.Decoder(_Body[msgspec.Raw])
_STRICT_EVENT = msgspec.json.Decoder(_StrictUuidEvent)
_STRICT_SENT_EVENT = msgspec.json.Decoder(_StrictSentEvent)
_EVENT = msgspec.json.Decoder(_UuidEvent)
_FIELDS_EVENT = msgspec.json.Decoder(_Fields)
_ANY = msgspec.json.Decoder(dict[str, Any])
_FIELDS = (*EVENT_FIELDS, AGENT_FIELD)
_KNOWN = frozenset(_FIELDS)
TOO_DEEP = "nested too deep"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MISSING = re.compile(r"missing required field `(\w+)`")
_AT = re.compile(r" - at `\$\.(\w+).*`$")


def parse_json(body: bytes, terms: Terms) -> Parsed:
    """Read `{"events": [...]}`. Raises BodyError for any other shape."""
    parsed, sent_at = _parsed_json(body, terms)
    if sent_at is not None:
        parsed.sent_at_ms = _time_or_none(sent_at)
        if parsed.sent_at_ms is None:
            parsed.ignored = _ignored([*parsed.ignored, "sent_at"])
    return parsed


def _parsed_json(body: bytes, terms: Terms) -> tuple[Parsed, Any]:
    """(the events, when the body was sent as it says itself)."""
    if terms.key is None:
        with contextlib.suppress(*_UNREADABLE):
            strict = _STRICT_BODY.decode(body)
            return Parsed(strict.events, range(len(strict.events))), strict.sent_at
        with contextlib.suppress(*_UNREADABLE, values.ValueFormError):
            sent = _STRICT_SENT_BODY.decode(body)
            return Parsed(_with_ids(sent.events, terms), range(len(sent.events))), sent.sent_at
    check_size_of_values(body, b",")
    if terms.key is None:
        with contextlib.suppress(*_UNREADABLE, FieldError):
            ignored = _unknown(_FIELDS_BODY.decode(body).events, terms)
            more = _BODY.decode(body)
            return Parsed(more.events, range(len(more.events)), ignored=ignored), more.sent_at
    raws, sent_at = _raw_events(body)
    return one_by_one(raws, terms, _event, _ANY.decode), sent_at


def parse_ndjson(body: bytes, terms: Terms) -> Parsed:
    """Read one event from each line. An event's index counts the lines that are not blank."""
    if terms.key is None:
        with contextlib.suppress(*_UNREADABLE):
            events = _STRICT_EVENT.decode_lines(body)
            return Parsed(events, range(len(events)))
        with contextlib.suppress(*_UNREADABLE, values.ValueFormError):
            sent = _STRICT_SENT_EVENT.decode_lines(body)
            return Parsed(_with_ids(sent, terms), range(len(sent)))
    check_size_of_values(body, b"\n")
    if terms.key is None:
        with contextlib.suppress(*_UNREADABLE, FieldError):
            ignored = _unknown(_FIELDS_EVENT.decode_lines(body), terms)
            more = _EVENT.decode_lines(body)
            return Parsed(more, range(len(more)), ignored=ignored)
    return one_by_one(_lines(body), terms, _event, _ANY.decode)


def parse_avro(body: bytes, terms: Terms, *, unpacked_bytes_max: int) -> Parsed:
    """Read an Avro object container of ViewEvent, or of a flat record that resolves to it.

    Records after a place that cannot be decoded are rejected together, by one Rejection with the index of that place.
    Raises BodyError if nothing can be read.
    """
    events: list[ViewEvent] = []
    indexes: list[int] = []
    parsed = Parsed(events, indexes)
    try:
        container = read_container(body, unpacked_bytes_max=unpacked_bytes_max)
        if terms.is_strict and container.unknown:
            raise BodyError(f"avro.schema: {container.unknown[0]:.64}: {no_such_field('', None)}; leave it out")
        parsed.ignored = _ignored(container.unknown)
        for index, record in enumerate(container.records):
            try:
                events.append(msgspec.convert(record | _id_and_time(record), _UuidEvent))
                indexes.append(index)
            except FieldError as error:
                parsed.rejected.append(error.at(index))
            except (msgspec.ValidationError, ValueError) as error:
                parsed.rejected.append(_rejection(index, error, partial(dict, record)))
                if (reason := too_many(parsed.rejected)) is not None:
                    raise BodyError(reason) from error
    except ContainerError as error:
        if error.index is None:
            raise BodyError(str(error)) from error
        reason = f"this event and all after it: {error}"
        parsed.rejected.append(rejection(error.index, None, None, reason, "write the file again from there on"))
    return parsed


def _id_and_time(record: Mapping[str, Any]) -> dict[str, Any]:
    """The id and the time of a record. Raises FieldError.

    A writer's schema may say that a number is a date, or that bytes are a decimal, and fastavro then makes that of it.
    """
    identity, at = record["event_id"], record["viewed_at"]
    if not isinstance(identity, bytes):
        raise FieldError("event_id", identity, f"is no fixed of 16 bytes, but a {type(identity).__name__}")
    if isinstance(at, datetime) and at.tzinfo is not None:
        return {"event_id": UUID(bytes=identity), "viewed_at": values.ms_of(at)}
    if not isinstance(at, int):
        raise FieldError("viewed_at", at, f"is no time in ms since 1970, but a {type(at).__name__}")
    return {"event_id": UUID(bytes=identity), "viewed_at": at}


def _raw_events(body: bytes) -> tuple[Sequence[bytes | msgspec.Raw], Any]:
    try:
        found = _RAW_BODY.decode(body)
    except RecursionError as error:
        raise BodyError(f"the body is {TOO_DEEP}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        lenient = _raw_events_leniently(body)
        if lenient is None:
            raise BodyError(f'the body is not {{"events": [...]}} in JSON: {error}') from error
        return lenient, None
    return found.events, found.sent_at


def _raw_events_leniently(body: bytes) -> list[bytes] | None:
    """Each event as JSON, for a body in which some string is not UTF-8: msgspec refuses such a body as a whole.

    Half a surrogate pair or a wrong byte is kept as it is, so that only its own event is rejected later.
    """
    try:
        events = json.loads(body.decode("utf-8", "surrogateescape"))["events"]
        return [
            json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
            for event in (events if isinstance(events, list) else None) or []
        ] or None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _lines(body: bytes) -> Iterator[bytes]:
    return (stripped for line in io.BytesIO(body) if (stripped := line.strip()))


def check_size_of_values(body: bytes, separator: bytes) -> None:
    """Raise BodyError if values of a body are so small on the average that most of them can be no events.

    Each value costs many times its bytes once it is an object.
    """
    values_max = max(VALUES_MIN, len(body) // VALUE_BYTES_MIN)
    if body.count(separator) > values_max:
        raise BodyError(f"the body has more than {values_max} values, of which most can be no events")


def one_by_one(
    raws: Iterable[bytes | msgspec.Raw],
    terms: Terms,
    read: Callable[[bytes | msgspec.Raw, dict[str, None], Terms], ViewEvent],
    fields: Callable[[bytes | msgspec.Raw], Mapping[str, Any]],
) -> Parsed:
    """Read events one by one, so that each bad one is rejected alone.

    `read` makes an event of the bytes of one, and adds the names of unknown fields to its second argument. It raises
    FieldError or what msgspec raises. `fields` reads all fields for a rejection. Raises BodyError if too many are bad.
    """
    events: list[ViewEvent] = []
    indexes: list[int] = []
    rejected: list[Rejection] = []
    unknown: dict[str, None] = {}
    is_bounded = False
    for index, raw in enumerate(raws):
        try:
            event = read(raw, unknown, terms)
            if terms.key is not None and event.event_id is None:
                event.event_id = terms.key.event_id(terms.project, index, bytes(raw))
                if event.viewed_at is None:
                    event.viewed_at = terms.key.time_ms
                    is_bounded = terms.key.is_bounded
            events.append(event)
            indexes.append(index)
        except FieldError as error:
            rejected.append(error.at(index))
        except RecursionError:
            rejected.append(rejection(index, None, None, TOO_DEEP, "leave out what is nested"))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            rejected.append(_rejection(index, error, partial(fields, raw)))
        if (reason := too_many(rejected)) is not None:
            raise BodyError(reason)
    return Parsed(events, indexes, rejected, _ignored(unknown), is_bounded)


def _event(raw: bytes | msgspec.Raw, unknown: dict[str, None], terms: Terms) -> ViewEvent:
    """Decode one event, also with an id that is text. Adds the names of unknown fields to `unknown`."""
    try:
        return _STRICT_EVENT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            fields = _ANY.decode(raw)
        # It is not a JSON object at all. The first error says better what was expected.
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise error from None
    return event_of(fields, unknown, terms)


def event_of(fields: dict[str, Any], unknown: dict[str, None], terms: Terms) -> ViewEvent:
    """An event of decoded fields, of which it takes the known ones out. Adds the names of the others to `unknown`.

    Raises FieldError and msgspec.ValidationError.
    """
    if (found := first_meant(fields)) is not None:
        raise _misspelt(found[0], found[1], fields[found[0]])
    known = {name: fields.pop(name) for name in _FIELDS if name in fields}
    if isinstance(known.get("event_id"), str):
        try:
            known["event_id"] = event_id(known["event_id"], terms.project)
        except values.ValueFormError as form:
            raise FieldError("event_id", known["event_id"], str(form)) from form
    if terms.is_strict and fields:
        raise no_such_field(*next(iter(fields.items())))
    event = msgspec.convert(known, _UuidEvent)
    if len(unknown) < IGNORED_NAMES_MAX:
        unknown.update(dict.fromkeys(fields))
    return event


def _misspelt(name: str, field: str, value: Any) -> FieldError:
    return FieldError(name, value, misspelt(name, field), f"write {field}, or leave it out")


def no_such_field(name: str, value: Any) -> FieldError:
    """The error for a field that no event has, if such fields are refused."""
    return FieldError(name, value, "no event has this field, and the key asks for strict reading", "leave it out")


def _time_or_none(value: Any) -> int | None:
    """A time that only informs: None if it is not in a form that an event's time may have."""
    with contextlib.suppress(values.ValueFormError):
        at_ms = values.time_ms(value) if isinstance(value, str) else value
        if isinstance(at_ms, int) and not isinstance(at_ms, bool) and TIME_MIN_MS <= at_ms < TIME_END_MS:
            return at_ms
    return None


def _with_ids(events: Sequence[ViewEvent], terms: Terms) -> Sequence[ViewEvent]:
    """The same events with UUIDs made of their ids. Raises ValueFormError."""
    for event in events:
        if event.event_id is not None:
            event.event_id = event_id(event.event_id, terms.project)
    return events


def _unknown(events: Iterable[_Fields], terms: Terms) -> list[str]:
    """The names of unknown fields. Raises FieldError for one that is refused."""
    found: dict[str, None] = {}
    for fields in events:
        for name in fields:
            if name not in _KNOWN and name not in found:
                if (known := meant(name)) is not None:
                    raise _misspelt(name, known, None)
                if terms.is_strict:
                    raise no_such_field(name, None)
                if len(found) < IGNORED_NAMES_MAX:
                    found[name] = None
    return _ignored(found)


def _ignored(names: Iterable[str]) -> list[str]:
    return sorted({name[:IGNORED_NAME_LENGTH_MAX] for name in names})[:IGNORED_NAMES_MAX]


def _rejection(index: int, error: Exception, fields: Callable[[], Mapping[str, Any]]) -> Rejection:
    """The rejection for what the decoder says. `fields` reads the event's fields, and may raise the same errors."""
    text = str(error)
    found = _MISSING.search(text) or _AT.search(text)
    if found is None:
        return rejection(index, None, None, _AT.sub("", text))
    value = None
    with contextlib.suppress(*_UNREADABLE):
        value = fields().get(found.group(1))
    return rejection(index, found.group(1), value, _AT.sub("", text))
