"""The bytes of ViewEvent and ViewBatch of version 2 that all producers put together alike.

An event ends with a tail that version 2 adds, and a batch begins with a head. Both are made once for many events, so
that producers copy them and encode only what differs. The encoding is that of the Avro 1.12 specification, "Binary
Encoding"; tests compare it with fastavro's.
"""

from enum import StrEnum
from functools import lru_cache

from schemas.registry import prefix
from schemas.varint import varint

VERSION = 2
NULL = b"\x00"
SOME = b"\x02"
# Few projects send at a time, and a request asks for one tail.
TAILS_MAX = 4096
_END_OF_ARRAY = b"\x00"


class Origin(StrEnum):
    """By which way the events of a batch came."""

    DIRECT = "direct"
    OVERFLOW = "overflow"
    REPLAY = "replay"
    PACK = "pack"


@lru_cache(TAILS_MAX)
def event_tail(*, agent: str | None = None, exclusion: str | None = None, project: str | None = None) -> bytes:
    """What version 2 adds at the end of an event."""
    return b"".join(map(optional_text, (agent, exclusion, project)))


def batch_head(
    batch_id: bytes,
    producer_id: str,
    *,
    salt: int,
    salts: int,
    produced_ms: int,
    origin: Origin,
    acknowledged: int | None = None,
) -> bytes:
    """The value of a record up to its events, with the prefix. The array of events follows, and ends the value."""
    return b"".join(
        (
            prefix("ViewBatch", VERSION),
            batch_id,
            text(producer_id),
            varint(salt),
            varint(salts),
            varint(produced_ms),
            text(origin),
            NULL if acknowledged is None else SOME + varint(acknowledged),
            # The traceparents.
            _END_OF_ARRAY,
        )
    )


def text(value: str) -> bytes:
    """A string in Avro. Raises UnicodeEncodeError for half a surrogate pair."""
    encoded = value.encode()
    return varint(len(encoded)) + encoded


def optional_text(value: str | None) -> bytes:
    """A string or null, in Avro."""
    return NULL if value is None else SOME + text(value)
