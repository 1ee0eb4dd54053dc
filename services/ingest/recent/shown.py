"""What is shown of the events of a body, without viewer ids. Pure."""

import io
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import fastavro
import msgspec
from msgspec import UNSET, Struct

from schemas.fields import EVENT_FIELDS
from schemas.registry import numeric_schema
from schemas.varint import varint
from schemas.view_records import VERSION
from services.ingest.forms import CLOUD_TYPES, JSON_TYPES, NDJSON_TYPES
from services.ingest.recent.answers import EVENTS_MAX, Hidden, RecentEvent
from services.ingest.rejections import NAME_LENGTH_MAX, Rejection
from services.ingest.routes import CLOUD_EVENTS

# How many fields of an event are named that are not shown.
HIDDEN_MAX = 32
VIEWER = "viewer_id"
_SHOWN = frozenset(EVENT_FIELDS) - {VIEWER}


class Note(NamedTuple):
    """What is kept of one body. `parts` are those of Packed, (block, ends, indexes), of the salts that have events.

    `size` is about what the note costs in bytes. `sent` is the body if it has unknown fields and is not too long, else
    empty; `ignored` are the names of these fields.
    """

    number: int
    at_ms: int
    parts: Sequence[tuple[bytes, Sequence[int], Sequence[int]]]
    rejected: Sequence[Rejection]
    late: Sequence[int]
    events: int
    size: int
    ignored: Sequence[str]
    media: str
    sent: bytes


def newest(notes: Sequence[Note], process: str) -> list[RecentEvent]:
    """The last events of these notes of one caller, of which the newest is the first; the last event first."""
    found: list[RecentEvent] = []
    for note in notes:
        if len(found) >= EVENTS_MAX:
            break
        found += shown(note, process, EVENTS_MAX - len(found))
    return found


def shown(note: Note, process: str, events_max: int = EVENTS_MAX) -> list[RecentEvent]:
    """The last events of a body, the last one first."""
    rejected = {one.index: one for one in note.rejected}
    last = max([*rejected, *(int(indexes[-1]) for _, _, indexes in note.parts)], default=-1)
    records = _records(note, last - events_max + 1)
    late = frozenset(note.late)
    unknown = _unknown(note)
    found = []
    for index in sorted(rejected.keys() | records.keys(), reverse=True)[:events_max]:
        why = rejected.get(index)
        event = RecentEvent(note.at_ms, process, note.number, index, "accepted" if why is None else "refused")
        hidden = [Hidden(name, size) for name, size in _of_event(unknown, index).items()][:HIDDEN_MAX]
        if index in records:
            hidden = _fill(event, records[index]) + hidden
        if hidden:
            event.hidden = hidden
        if why is not None:
            event.rejected = _without_viewer(why)
        elif index in late:
            event.late = True
        found.append(event)
    return found


@cache
def _events_schema() -> Any:
    return fastavro.parse_schema({"type": "array", "items": numeric_schema("ViewEvent", VERSION)})


def _records(note: Note, first: int) -> dict[int, dict[str, Any]]:
    """The accepted events from this index on, as records of their schema.

    They are read as one array: what the reader costs for each call is more than what it costs for an event.
    """
    places: list[int] = []
    datums: list[bytes] = []
    for block, ends, indexes in note.parts:
        begin = bisect_left(indexes, first)
        places.extend(indexes[begin:])
        datums.append(block[ends[begin - 1] if begin else 0 :])
    if not places:
        return {}
    octets = b"".join((varint(len(places)), *datums, b"\x00"))
    records = fastavro.schemaless_reader(io.BytesIO(octets), _events_schema(), None)
    return dict(zip(places, cast("list[dict[str, Any]]", records), strict=True))


def _fill(event: RecentEvent, fields: Mapping[str, Any]) -> list[Hidden]:
    """Put the fields of the event that are shown into it, and return the others."""
    identity = fields["event_id"].hex()
    event.event_id = f"{identity[:8]}-{identity[8:12]}-{identity[12:16]}-{identity[16:20]}-{identity[20:]}"
    event.video_id, event.viewed_at, event.kind = fields["video_id"], fields["viewed_at"], fields["kind"]
    event.country, event.device = fields["country"] or UNSET, fields["device"] or UNSET
    viewer = fields[VIEWER]
    return [] if viewer is None else [Hidden(VIEWER, len(viewer.encode()))]


def _without_viewer(why: Rejection) -> Rejection:
    """The rejection with its value only if that is the plain value of a field that is shown."""
    is_shown = why.field in _SHOWN and not (why.value or "").startswith(("{", "["))
    return why if is_shown or why.value is None else msgspec.structs.replace(why, value=None)


_Sizes = Mapping[str, int | None]


def _of_event(unknown: Sequence[_Sizes] | _Sizes, index: int) -> _Sizes:
    if isinstance(unknown, Mapping):
        return unknown
    return unknown[index] if index < len(unknown) else {}


def _unknown(note: Note) -> Sequence[_Sizes] | _Sizes:
    """The names and sizes of the unknown fields of each event; those of the whole body if it cannot be said of each."""
    if not note.ignored:
        return {}
    try:
        events = _fields(note.media, note.sent) if note.sent else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = None
    if events is None:
        return dict.fromkeys(note.ignored)
    return [
        {name[:NAME_LENGTH_MAX]: len(bytes(raw)) for name, raw in fields.items() if name not in EVENT_FIELDS}
        for fields in events
    ]


_Fields = dict[str, msgspec.Raw]


class _Body(Struct):
    events: list[_Fields]


class _CloudEvent(Struct):
    data: _Fields = msgspec.field(default_factory=dict)


_BODY = msgspec.json.Decoder(_Body)
_LINE = msgspec.json.Decoder(_Fields)
_CLOUD_EVENT = msgspec.json.Decoder(_CloudEvent)
_CLOUD_EVENTS = msgspec.json.Decoder(list[_CloudEvent])


def _fields(media: str, body: bytes) -> list[_Fields] | None:
    """The fields of each event. None for a form that does not tell sizes. Raises what msgspec raises."""
    if media in JSON_TYPES:
        return _BODY.decode(body).events
    if media in NDJSON_TYPES:
        return _LINE.decode_lines(body)
    if media in CLOUD_TYPES:
        some = _CLOUD_EVENTS.decode(body) if media == CLOUD_EVENTS else [_CLOUD_EVENT.decode(body)]
        return [one.data for one in some]
    return None
