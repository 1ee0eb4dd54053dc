"""What no good client sends: JSON events that ingest must refuse, records that the job must dead-letter.

Each list holds one of each kind of harm; senders go through them in turn.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

import mmh3

from schemas.varint import varint
from tools.load.encoding import header

_ID = "0b5a4e5e-6f0e-4c5d-9d5c-2f6f1f0a3b7c"

# Each is refused alone, by ingest, with the field named.
BAD_JSON_EVENTS: tuple[str, ...] = tuple(
    json.dumps(event)
    for event in (
        {"event_id": _ID, "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "", "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "v" * 65, "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "é" * 40, "viewed_at": 1_700_000_000_000},
        {"event_id": "no-uuid", "video_id": "v", "viewed_at": 1_700_000_000_000},
        {"event_id": _ID, "video_id": "v", "viewed_at": "yesterday"},
        {"event_id": _ID, "video_id": "v"},
        {"event_id": _ID, "video_id": "v", "viewed_at": 1_700_000_000},
        {"event_id": _ID, "video_id": "v", "viewed_at": 1_700_000_000_000, "kind": ""},
        {"event_id": _ID, "video_id": 7, "viewed_at": 1_700_000_000_000},
        "an event",
        None,
    )
)

# Each is answered 400 as a whole.
BAD_BODIES: tuple[bytes, ...] = (b"", b"{", b'{"events": 1}', b'{"events": []}', b"\xff\xfe", b"[]")


@dataclass(frozen=True)
class BadRecord:
    """A record of which nothing can be counted. It goes to `salt`'s partition under `key`.

    `events` is how many bad events a readable one holds, 0 for one that cannot be read.
    """

    name: str
    salt: int
    key: bytes
    value: bytes
    events: int = 0


def bad_records(salt: int, salts: int, now_ms: int) -> list[BadRecord]:
    """One record of every kind of harm, all under this salt."""
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
    """Records in this salt's partition whose keys name no salt."""
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
    """The n-th bad event, going round."""
    return BAD_JSON_EVENTS[n % len(BAD_JSON_EVENTS)]


def is_about_the_event(rejection: dict[str, Any]) -> bool:
    """Whether a rejection blames the event, so that sending it again is of no use."""
    return not str(rejection["reason"]).startswith("not written")
