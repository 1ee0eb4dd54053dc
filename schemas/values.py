"""Parses times, ids and whole numbers that come from outside the product. Imports nothing but the standard library.

Ingest, the pack job, replay, the metadata command and query all accept what this module accepts, and nothing else. So
one event has the same id and the same time, whichever way it comes in.
"""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

# The years 2000 to 2099. A number outside of them is not in milliseconds, but in seconds or microseconds, or a mistake.
TIME_MIN_MS = 946_684_800_000
TIME_END_MS = 4_102_444_800_000
ID_BYTES = 16
NIL_ID = bytes(ID_BYTES)
MAX_ID = b"\xff" * ID_BYTES
RESERVED_IDS = frozenset((NIL_ID, MAX_ID))
_UUID7_TIME_SHIFT = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# RFC 3339 does not allow a space in place of the T, or an offset without a colon, but ingest has always accepted both.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:?[0-5][0-9])"
)
_HEX = r"[0-9A-Fa-f]"
_PLAIN_ID = rf"(?:{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}|{_HEX}{{32}})"
_ID = re.compile(rf"(?:[uU][rR][nN]:[uU][uU][iI][dD]:)?({_PLAIN_ID})|\{{({_PLAIN_ID})\}}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")

TIME_FORM = "must be RFC 3339 with Z or an offset, such as 2026-01-31T12:00:00Z, or ms since 1970"
TIME_RANGE = "ms since 1970 is not in the years 2000 to 2099"
TIME_MISSING = "missing: an event with an id needs its time, unless the id is a UUIDv7"
ID_RESERVED = (
    "the nil UUID and the max UUID cannot be the id of an event: a client that makes no ids sends them; send a random "
    "UUID, or no id"
)


class ValueFormError(ValueError):
    """A value that is not accepted. The text says what it must be, and does not contain the value."""


def time_ms(text: str) -> int:
    """A time of RFC 3339 in ms since 1970. Digits beyond the millisecond are cut off. Raises ValueFormError."""
    if _TIME.fullmatch(text) is None:
        raise ValueFormError(TIME_FORM)
    try:
        # Python cuts off what is beyond the microsecond.
        return ms_of(datetime.fromisoformat(text.upper()))
    except ValueError:
        raise ValueFormError(f"{TIME_FORM}; the calendar has no such time") from None


def ms_of(at: datetime) -> int:
    """An aware datetime in ms since 1970. Digits beyond the millisecond are cut off."""
    return (at - _EPOCH) // _MILLISECOND


def uuid_of(text: str) -> UUID | None:
    """The UUID that a text is, as 8-4-4-4-12 or 32 hex digits, also in braces or behind urn:uuid:. None if it is none.

    Raises ValueFormError for the nil and the max UUID.
    """
    found = _ID.fullmatch(text)
    if found is None:
        return None
    identity = UUID(hex=found[1] or found[2])
    check_id(identity.bytes)
    return identity


def check_id(identity: bytes) -> None:
    """Raise ValueFormError if these 16 bytes are the nil or the max UUID, which no event has."""
    if identity in RESERVED_IDS:
        raise ValueFormError(ID_RESERVED)


def time_of_id(identity: UUID) -> int | None:
    """The time in a UUIDv7, in ms since 1970; None for any other id."""
    return identity.int >> _UUID7_TIME_SHIFT if identity.version == 7 else None


def whole_number(text: str) -> int:
    """A whole number of at most 18 ASCII digits, without sign or leading zero. Raises ValueFormError."""
    if _WHOLE.fullmatch(text) is None:
        raise ValueFormError("must be a whole number, in digits alone")
    return int(text)
