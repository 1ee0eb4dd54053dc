"""How an event lies in a segment: a head with length and CRC, and the event. Pure: knows bytes and no files.

A process can be killed, and a machine can lose its power, at any byte. So a reader takes only what its CRC bears out,
and after what it does not, it goes on at the next record that is whole.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from view_counts_client.events import Event
from view_counts_client.ids import ID_BYTES

# The first byte of a record, which text in UTF-8 never has.
MAGIC = b"\xfb"
_HEAD = struct.Struct(">cII")
HEAD_BYTES = _HEAD.size
_EVENT = struct.Struct(">Bq")
_BY_DEVICE = 1
_TEXT_ID = 2
# The longest event is far shorter.
RECORD_BYTES_MAX = 1 << 16


class Record(NamedTuple):
    """An event, and the places in the segment where its record begins and ends."""

    event: Event
    start: int
    end: int


def encoded(event: Event) -> bytes:
    """The record of an event."""
    identity = event.event_id
    flags = _BY_DEVICE if event.by_device else 0
    if isinstance(identity, str):
        text = identity.encode()
        flags |= _TEXT_ID
        identity = len(text).to_bytes(1, "big") + text
    payload = _EVENT.pack(flags, event.viewed_at_ms) + identity + event.fields
    return _HEAD.pack(MAGIC, len(payload), zlib.crc32(payload, len(payload))) + payload


def records(data: bytes, at: int) -> Iterator[Record]:
    """The whole records of a segment from this place on."""
    while True:
        at = data.find(MAGIC, at)
        if at < 0:
            return
        found = _record_at(data, at)
        if found is None:
            at += 1
        else:
            yield found
            at = found.end


def _record_at(data: bytes, at: int) -> Record | None:
    start = at + HEAD_BYTES
    if start > len(data):
        return None
    _, size, crc = _HEAD.unpack_from(data, at)
    end = start + size
    if size > RECORD_BYTES_MAX or size <= _EVENT.size or end > len(data):
        return None
    payload = data[start:end]
    # The length is the CRC's start value, so that a wrong one does not pass.
    if zlib.crc32(payload, size) != crc:
        return None
    event = _decoded(payload)
    return None if event is None else Record(event, at, end)


def _decoded(payload: bytes) -> Event | None:
    flags, at_ms = _EVENT.unpack_from(payload)
    start = _EVENT.size
    identity: bytes | str
    if flags & _TEXT_ID:
        after = start + 1 + payload[start]
        try:
            identity = payload[start + 1 : after].decode()
        except UnicodeDecodeError:
            return None
    else:
        after = start + ID_BYTES
        identity = payload[start:after]
    return Event(identity, at_ms, bool(flags & _BY_DEVICE), payload[after:])
