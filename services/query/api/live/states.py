"""What a listener hears: the newest state of what it listens to, and how far an earlier one was. Pure."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

_PLACE = re.compile(r"(\d{1,18})-(\d{1,18})")
_ENCODER = msgspec.json.Encoder()


class Place(NamedTuple):
    """How far a total is. Within one revision of history a total only grows."""

    revision: int
    views: int


@dataclass(frozen=True)
class State:
    """The newest answer about something, in JSON. `place` is None for what has no order, such as lists."""

    name: str
    data: bytes
    id: str
    place: Place | None = None


class Subject(Protocol):
    """What can be listened to. Equal ones are read once for all who listen."""

    def __hash__(self) -> int: ...

    def __eq__(self, other: object, /) -> bool: ...


def place_of(event_id: str) -> Place | None:
    """What the id of an event says; None for an id of something else."""
    found = _PLACE.fullmatch(event_id)
    return None if found is None else Place(int(found[1]), int(found[2]))


def id_of(place: Place) -> str:
    """The id of the event that has this place."""
    return f"{place.revision}-{place.views}"


def block(name: str, data: Any, *, event_id: str | None = None, retry_ms: int | None = None) -> bytes:
    """One event in the format of server-sent events. `data` is JSON already, or a struct; JSON has no line breaks."""
    lines = [b"event: " + name.encode()]
    if event_id is not None:
        lines.append(b"id: " + event_id.encode())
    if retry_ms is not None:
        lines.append(b"retry: %d" % retry_ms)
    lines.append(b"data: " + (data if isinstance(data, bytes) else _ENCODER.encode(data)))
    return b"\n".join(lines) + b"\n\n"
