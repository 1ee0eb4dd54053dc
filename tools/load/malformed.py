"""Malformed input: JSON events that ingest must refuse, and records that must become dead letters.

Each list has one example of each kind. Senders use them one after the other.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

import mmh3

from schemas.varint import varint
from tools.load.encoding import header

_ID = "0b5a4e5e-6f0e-4c5d-9d5c-2f6f1f0a3b7c"

# Ingest must refuse each of these events alone, and name the field.
BAD_JSON_EVENTS: tuple[str, ...] = tuple(
    json.dumps(event)
    for event in (
        {"event_id": _ID, "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "", "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "v" * 65, "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "é" * 40, "viewed_at": 1_700_000_000_000},
        {"event_id": "undefined", "video_id": "v", "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "v", "viewed_at": "yesterday"},
        {"event_id": _ID, "video_id": "v"},
        {"event_id": _ID, "video_id": "v", "viewed_at": 1_700_000_000},
        {"event_id": _ID, "video_id": "v", "viewed_at": 1_700_000_000_000, "kind": ""},
        {"event_id": _ID, "video_id": 7, "viewed_at": 1_700_000_000_000},
        "an event",
        None,
    )
)

# Ingest must answer each of these bodies with 400.
BAD_BODIES: tuple[bytes, ...] = (b"", b"{", b'{"events": 1}', b'{"events": []}', b"\xff\xfe", b"[]")


@dataclass(frozen=True)
class BadRecord:
    """A record in which nothing can be counted. It goes to the partition of `salt` with the key `key`.

    `events` is the number of bad events in a readable record, and 0 for an unreadable one.
    """

    name: str
    salt: int
    key: bytes
    value: bytes
    events: int = 0


def bad_records(salt: int, salts: int, now_ms: int) -> list[BadRecord]:
    """One malformed record of every kind, all with the key of this salt."""
    good = _batch(salt, salts, now_ms, salt)
    key = salt.to_bytes(4, "big")
    return [
        BadRecord(name, salt, key, value)
        for name, value in (
            ("cut short", good[:-9]),
            ("bytes after the end", good + b"more"),
            ("a foreign schema", b"\xc3\x01" + bytes(8) + good[10:]),
            ("no Avro", b"hello"),
            ("empty", b""),
            ("another number of salts", _batch(salt, salts * 2, now_ms, salt)),
            ("another salt than its key's", _batch((salt + 1) % salts, salts, now_ms, (salt + 1) % salts)),
            ("a count of 10^12", header(os.urandom(16), salt, salts, now_ms) + varint(10**12) + bytes(40)),
        )
    ] + [
        BadRecord("an event of another salt", salt, key, _batch(salt, salts, now_ms, (salt + 1) % salts), events=1),
    ]


def foreign_records(salt: int, salts: int, now_ms: int) -> list[BadRecord]:
    """Records for the partition of this salt whose keys name no salt."""
    good = _batch(salt, salts, now_ms, salt)
    return [
        BadRecord(f"the key {key.hex() or 'of no bytes'}", salt, key, good)
        for key in (b"", b"12345", b"\xff\xff\xff\xff", salts.to_bytes(4, "big"))
    ]


def _batch(salt: int, salts: int, now_ms: int, event_salt: int) -> bytes:
    """A batch of one event, whose id has `event_salt`."""
    while True:
        identity = os.urandom(16)
        if mmh3.hash(identity, 0, False) % salts == event_salt % salts:
            break
    event = identity + varint(3) + b"bad" + varint(now_ms) + varint(4) + b"view" + b"\x00\x00\x00"
    return header(os.urandom(16), salt, salts, now_ms) + varint(1) + event + b"\x00"


def bad_json_event(n: int) -> str:
    """The n-th malformed event. The list begins again after its end."""
    return BAD_JSON_EVENTS[n % len(BAD_JSON_EVENTS)]


def is_about_the_event(rejection: dict[str, Any]) -> bool:
    """Whether a rejection is about the event's content, so that it is useless to send the event again."""
    return not str(rejection["reason"]).startswith("not written")
