"""Why an event was not taken, and what its sender can do. Knows no HTTP and no format.

The docstring and descriptions of Rejection are part of the OpenAPI description.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.kinds import BLOCKED_PREFIX
from schemas.limits import (
    COUNTRY_BYTES_MAX,
    DEVICE_BYTES_MAX,
    EVENT_ID_BYTES_MAX,
    KIND_BYTES_MAX,
    VIDEO_ID_BYTES_MAX,
    VIEWER_ID_BYTES_MAX,
)

# How many characters of a value, and of the name of a field, an answer repeats.
VALUE_LENGTH_MAX = 80
NAME_LENGTH_MAX = 64
_CUT = "..."
# A body with more bad events is refused as a whole: each costs more than a good one, here and in the answer.
REJECTIONS_MAX = 1000

NO_FIELD = "send a JSON object with the fields of an event"
_OPTIONAL = "send at most {} bytes of UTF-8, or leave it out"
_REMEDIES = {
    "video_id": f"send 1 to {VIDEO_ID_BYTES_MAX} bytes of UTF-8",
    "event_id": f"send a UUID or a text of 1 to {EVENT_ID_BYTES_MAX} bytes that no other event has, or leave it out",
    "viewed_at": "send the time of the view, as RFC 3339 with an offset or as ms since 1970",
    "kind": f"send 1 to {KIND_BYTES_MAX} bytes of UTF-8 that do not begin with {BLOCKED_PREFIX}, or leave it out",
    "viewer_id": _OPTIONAL.format(VIEWER_ID_BYTES_MAX),
    "country": _OPTIONAL.format(COUNTRY_BYTES_MAX),
    "device": _OPTIONAL.format(DEVICE_BYTES_MAX),
    "user_agent": "send text, or leave it out",
    # Attributes of a CloudEvent.
    "specversion": "send CloudEvents of version 1.0",
    "id": f"send 1 to {EVENT_ID_BYTES_MAX} bytes of UTF-8 that no other CloudEvent of this source has",
    "source": "send where the CloudEvent comes from",
    "type": "send the type of the CloudEvent; any text does",
    "time": "send the time of the view, as RFC 3339 with an offset",
    "subject": "send the video in it, or leave it out",
    "data": "send an object with the fields of a view event",
}


class Rejection(msgspec.Struct):
    """Why the service did not take one event."""

    index: Annotated[int, Meta(description="The place of the event in the body, from 0.")]
    field: Annotated[str | None, Meta(description="The field at fault; null if it is not one field.")]
    value: Annotated[
        str | None,
        Meta(description=f"What the field holds, cut to {VALUE_LENGTH_MAX} characters; null if it is not there."),
    ]
    reason: str
    remedy: Annotated[str, Meta(description="What to do with the event.")]


class FieldError(ValueError):
    """A field is not allowed or has a wrong value. The text is the reason; `remedy` is None for the usual one."""

    def __init__(self, name: str, value: Any, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.name = name
        self.value = value
        self.remedy = remedy

    def at(self, index: int) -> Rejection:
        """The rejection of the event at this place of the body."""
        return rejection(index, self.name, self.value, str(self), self.remedy)


def rejection(index: int, field: str | None, value: Any, reason: str, remedy: str | None = None) -> Rejection:
    """The rejection of an event. Without a remedy it has the usual one of the field."""
    name = None if field is None else _cut(field, NAME_LENGTH_MAX)
    return Rejection(index, name, shown(value), reason, remedy or _REMEDIES.get(field or "", NO_FIELD))


def too_many(rejected: Sequence[Rejection]) -> str | None:
    """Why nothing of a body is taken that has these bad events; None if they are few enough."""
    if len(rejected) <= REJECTIONS_MAX:
        return None
    first = rejected[0]
    return (
        f"more than {REJECTIONS_MAX} events are bad, so that nothing was taken; the first is event {first.index}: "
        f"{first.field or ''} {first.reason}; {first.remedy}"
    )


def shown(value: Any) -> str | None:
    """A value as text: a text as it is, other values in JSON. It is cut, and half a surrogate pair is replaced."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return _cut(text, VALUE_LENGTH_MAX).encode("utf-8", "replace").decode()


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else text[: length_max - len(_CUT)] + _CUT
