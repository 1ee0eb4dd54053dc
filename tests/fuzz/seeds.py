"""Inputs from which a fuzzer begins: one of each form that a decoder takes, so that it need not find them itself."""

import gzip
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import fastavro
from backports import zstd

from schemas.access_keys import encode, new_key
from schemas.registry import schema
from services.ingest.routes import CLOUD_EXAMPLE
from tests.support.batch_versions import VERSIONS, encode_batch
from tests.support.both_ways import NOW_MS, SALTS
from tests.support.records import salt_of

ID = uuid.UUID(int=0x7F9C24E83B124FEF91E056A2D5A3F0B1)
TIMED = uuid.UUID(int=NOW_MS << 80 | 7 << 76 | 2 << 62 | 1)
EVENTS: tuple[dict[str, Any], ...] = (
    {"video_id": "A"},
    {"video_id": "é✓", "event_id": str(ID), "viewed_at": NOW_MS, "kind": "like", "country": "DE"},
    {"video_id": "B", "event_id": str(TIMED), "viewer_id": None, "device": "tv"},
    {"video_id": "C", "event_id": "evt_1NG8", "viewed_at": "2026-01-01T12:00:59.9995+01:30"},
    {"video_id": "D", "event_id": f"urn:uuid:{{{ID.hex}}}", "viewed_at": "2026-01-01T12:00:00Z", "viewer_id": "v"},
    {"video_id": '\\"\n\u0001', "position": {"a": [1, 1.5, None, True]}, "user_agent": "curl/8"},
    {"videoId": "E", "kind": "blocked:x", "viewed_at": -1},
)


def packed() -> Iterator[bytes]:
    """Bodies in gzip and zstd, one and several members, empty and large."""
    for body in (b"", b'{"events":[]}', b" " * (1 << 12)):
        yield gzip.compress(body, mtime=0)
        yield zstd.compress(body)
        yield gzip.compress(body, mtime=0) * 3
        yield zstd.compress(body) * 3


def bodies_json() -> Iterator[bytes]:
    """Bodies in JSON, as programs and as people write them."""
    yield b'{"events":[]}'
    for event in EVENTS:
        yield json.dumps({"events": [event]}, separators=(",", ":"), ensure_ascii=False).encode()
    yield json.dumps({"events": EVENTS, "sent_at": NOW_MS}, indent=1).encode()
    yield b'{"sent_at":"2026-01-01T12:00:00Z","events":[{"video_id":"A"},{"video_id":"\\ud83d\\ude00"}],"x":{}}'


def bodies_ndjson() -> Iterator[bytes]:
    """The same events on lines."""
    yield b"\n".join(json.dumps(event, ensure_ascii=False).encode() for event in EVENTS)
    yield b'\r\n{"video_id":"A"}\r\n\n {"video_id" : "B"} \n'


def containers() -> Iterator[bytes]:
    """Avro containers of both versions and of a schema of somebody else."""
    events = [
        {"event_id": ID.bytes, "video_id": "A", "viewed_at": NOW_MS, "kind": "view"},
        {"event_id": TIMED.bytes, "video_id": "é✓", "viewed_at": NOW_MS, "kind": "like", "viewer_id": "v"},
    ]
    for version in (1, 2):
        for codec in ("null", "deflate"):
            yield _container(schema("ViewEvent", version), events, codec)
    fields = [{"name": "video_id", "type": "string"}, {"name": "note", "type": ["null", "double"]}]
    yield _container({"type": "record", "name": "ViewEvent", "fields": fields}, [{"video_id": "A", "note": 1.5}])


def _container(declared: Any, events: list[dict[str, Any]], codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, declared, events, codec=codec, sync_interval=1, sync_marker=bytes(range(16)))
    return out.getvalue()


def cloud_events() -> Iterator[bytes]:
    """Single CloudEvents."""
    yield json.dumps(CLOUD_EXAMPLE).encode()
    yield json.dumps({**CLOUD_EXAMPLE, "subject": "B", "data": None, "traceparent": "00"}).encode()


def cloud_event_batches() -> Iterator[bytes]:
    """Lists of them."""
    yield b"[]"
    yield json.dumps([CLOUD_EXAMPLE, {**CLOUD_EXAMPLE, "id": str(ID), "data_base64": "AA=="}]).encode()


def key_files() -> Iterator[bytes]:
    """Files of no key, and of a key of each kind."""
    yield encode([])
    keys = [new_key(scope, "acme")[0] for scope in ("write", "read", "admin", "canary")]
    yield encode(keys)
    yield b'{"version":1,"keys":[{"id":"abcdef","scope":"pubwrite","project":"acme","sha256":"%b",' % (b"0" * 64) + (
        b'"created_at":"2026-01-01T12:00:00Z","expires_at":"2026-02-01T12:00:00Z","kinds":["*"],"origins":["*"],'
        b'"video_id_prefix":"*","is_strict":true,"has_batch_ids":true,"events_per_s":1.5,"bytes_per_s":2,'
        b'"names_per_day_max":3}]}'
    )


def batches() -> Iterator[bytes]:
    """Records of the events topic, of every version, with events and without."""
    for version in VERSIONS:
        for events in ((), (ID.bytes,), (TIMED.bytes, TIMED.bytes)):
            yield encode_batch(_batch(events), version)


def _batch(ids: tuple[bytes, ...]) -> dict[str, Any]:
    optional = {"viewer_id": "v", "country": None, "device": "tv"}
    return {
        "batch_id": bytes(16),
        "producer_id": "p",
        "salt": salt_of(ids[0], SALTS) if ids else 1,
        "salts": SALTS,
        "produced_at": NOW_MS,
        "events": [{"event_id": one, "video_id": "é", "viewed_at": NOW_MS, "kind": "view", **optional} for one in ids],
    }
