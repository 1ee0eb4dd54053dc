"""One event, from the arguments of `view` to a line of NDJSON. Knows no queue and no network."""

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from view_counts_client.ids import ID_BYTES, text_of

VIDEO_ID_BYTES_MAX = 64
TEXT_BYTES_MAX = 64
KIND_BYTES_MAX = 32
EVENT_ID_BYTES_MAX = 128
# The service reads no more of it.
USER_AGENT_LENGTH_MAX = 512
VIEW = "view"
# The years 2000 to 2099: the service takes no other time. A number beyond is in seconds or microseconds.
TIME_MIN_MS = 946_684_800_000
TIME_END_MS = 4_102_444_800_000
# What an event takes up in memory besides its texts.
OVERHEAD_BYTES = 320
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
# Not escaped to ASCII, because the service reads plain texts faster.
_quoted = json.JSONEncoder(ensure_ascii=False).encode


class Event(NamedTuple):
    """What is sent of one view.

    `event_id` is a text if the caller's own id is no UUID. `by_device` says that the time was made by a clock that may
    still be corrected. `fields` are the others as JSON, without braces.
    """

    event_id: bytes | str
    viewed_at_ms: int
    by_device: bool
    fields: bytes

    def line(self) -> bytes:
        """The event in JSON, on one line."""
        named = text_of(self.event_id) if isinstance(self.event_id, bytes) else self.event_id
        return b'{"event_id":%b,"viewed_at":%d,%b}' % (_quoted(named).encode(), self.viewed_at_ms, self.fields)


# An event before it is encoded: id, ms since 1970, by_device, video_id, viewer_id, other fields. A plain tuple of texts
# and numbers costs a garbage collection nothing, however many wait.
Viewed = tuple[bytes | str, int, bool, str, str | None, str]


def event_of(viewed: Viewed) -> Event:
    """The same event, encoded."""
    event_id, viewed_at_ms, by_device, video_id, viewer_id, others = viewed
    viewer = "" if viewer_id is None else f',"viewer_id":{_quoted(viewer_id)}'
    fields = f'"video_id":{_quoted(video_id)}{viewer}{others}'
    return Event(event_id, viewed_at_ms, by_device, fields.encode())


def size_of(video_id: str, viewer_id: str | None, others: str) -> int:
    """About how many bytes an event takes up in memory."""
    return OVERHEAD_BYTES + len(video_id) + len(others) + (0 if viewer_id is None else len(viewer_id))


def check_ids(video_id: str, viewer_id: str | None) -> None:
    """Raise TypeError or ValueError if the service would refuse an event because of one of them."""
    # Nearly all ids pass by these tests alone, which cost a tenth of the others.
    if type(video_id) is not str or not video_id.isascii() or not 0 < len(video_id) <= VIDEO_ID_BYTES_MAX:
        check_text("video_id", video_id, VIDEO_ID_BYTES_MAX)
    if viewer_id is None:
        return
    if type(viewer_id) is not str or not viewer_id.isascii() or len(viewer_id) > TEXT_BYTES_MAX:
        check_text("viewer_id", viewer_id, TEXT_BYTES_MAX, bytes_min=0)


def other_fields(kind: str, country: str | None, device: str | None, user_agent: str | None) -> str:
    """The rarer fields in JSON, each after a comma. Raises TypeError or ValueError."""
    found = ""
    if kind != VIEW:
        check_text("kind", kind, KIND_BYTES_MAX)
        found += f',"kind":{_quoted(kind)}'
    for name, text in (("country", country), ("device", device)):
        if text is not None:
            check_text(name, text, TEXT_BYTES_MAX, bytes_min=0)
            found += f',"{name}":{_quoted(text)}'
    if user_agent is not None:
        if not isinstance(user_agent, str):
            raise TypeError(f"user_agent={user_agent!r:.80} is no text: send text, or leave it out")
        # Whoever made it is a stranger: what is wrong with it is no fault of the caller.
        kept = user_agent[:USER_AGENT_LENGTH_MAX].encode("utf-8", "replace").decode()
        found += f',"user_agent":{_quoted(kept)}'
    return found


def check_text(name: str, text: str, bytes_max: int, *, bytes_min: int = 1) -> None:
    """Raise TypeError or ValueError if the service would refuse this text."""
    if not isinstance(text, str):
        raise TypeError(f"{name}={text!r:.80} is no text: send a str of {bytes_min} to {bytes_max} bytes of UTF-8")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name}={text!r:.80} has half a surrogate pair, which is no UTF-8: send whole text") from None
    if not bytes_min <= size <= bytes_max:
        raise ValueError(f"{name}={text!r:.80} has {size} bytes of UTF-8: send {bytes_min} to {bytes_max}")


def own_id(event_id: UUID | str) -> bytes | str:
    """The id that the caller gives: 16 bytes if it is a UUID, else its text. Raises TypeError or ValueError."""
    if isinstance(event_id, UUID):
        return event_id.bytes
    check_text("event_id", event_id, EVENT_ID_BYTES_MAX)
    return event_id


def own_time_ms(viewed_at: datetime | int | None, event_id: bytes | str) -> int:
    """The time that the caller gives, or that of its own id. Raises ValueError."""
    if viewed_at is None:
        if isinstance(event_id, bytes) and len(event_id) == ID_BYTES and event_id[6] >> 4 == 7:
            return int.from_bytes(event_id[:6], "big")
        raise ValueError(
            "viewed_at is missing: an event with an event_id of its own needs its time, unless the id is a UUID of "
            "version 7, because the same event must have the same time whenever it is sent"
        )
    if isinstance(viewed_at, datetime):
        if viewed_at.tzinfo is None:
            raise ValueError(f"viewed_at={viewed_at} has no time zone: send datetime.now(UTC) or the like")
        viewed_at = (viewed_at - _EPOCH) // _MS
    if not TIME_MIN_MS <= viewed_at < TIME_END_MS:
        raise ValueError(f"viewed_at={viewed_at} is not in the years 2000 to 2099: send ms since 1970, or a datetime")
    return viewed_at
