"""Makes the golden bytes of the schema versions that have none yet: `.local/venv/bin/python tests/golden/make_avro.py`.

Run it once after adding schemas/avro/NAME.vN.avsc and an example below; commit what it writes and never change it.
Files that exist are left alone, since they stand for values that are in topics and archives already. Knows
fastavro and the schema files only: what reads the bytes in the product must not be what made them.
"""

import datetime as dt
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import mmh3
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"
GOLDEN = Path(__file__).parent / "avro"
VERSIONS = GOLDEN / "versions.txt"
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
SALT, SALTS = 3, 16


def _ids_of_one_salt(count: int) -> list[bytes]:
    candidates = (hashlib.md5(bytes([n]), usedforsecurity=False).digest() for n in range(256))
    return [id_ for id_ in candidates if mmh3.hash(id_, 0, signed=False) % SALTS == SALT][:count]


def _event(event_id: bytes, video_id: str, seconds: float, **others: str) -> dict[str, Any]:
    filled = {"kind": "view", "viewer_id": None, "country": None, "device": None, **others}
    return {"event_id": event_id, "video_id": video_id, "viewed_at": NOON + dt.timedelta(seconds=seconds), **filled}


IDS = _ids_of_one_salt(4)
EVENTS = [
    _event(IDS[0], "A", 0),
    _event(IDS[1], "dQw4w9WgXcQ", 59.999, kind="like", viewer_id="viewer-1", country="DE", device="tv"),
    _event(IDS[2], "видео/✓" + "x" * 50, 60, country=""),
    # Before 1970: a negative time is a zigzag number like any other.
    _event(IDS[3], "A", -1_800_000_000, kind="k" * 32),
]
HEADER = {
    "batch_id": bytes(range(16)),
    "producer_id": "ingest-1",
    "salt": SALT,
    "salts": SALTS,
    "produced_at": NOON + dt.timedelta(minutes=1, milliseconds=123),
}
# What version 2 adds to each event, and to the header.
EVENTS_2 = [
    {**EVENTS[0], "agent": None, "exclusion": None, "project": None},
    {**EVENTS[1], "agent": "browser", "exclusion": None, "project": "default"},
    {**EVENTS[2], "agent": "bot", "exclusion": "Regel ✓", "project": "videos"},
    {**EVENTS[3], "agent": "", "exclusion": None, "project": "videos"},
]
HEADER_2 = {**HEADER, "origin": "overflow", "acknowledged": 2**40, "traceparents": ["00-" + "a" * 32 + "-01", ""]}
REJECTED = {"topic": "view-events", "partition": 3, "offset": 2**40, "append_at": NOON}

# Values by schema version, then by case. A version once listed stays.
EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    "ViewEvent.v1": {"plain": EVENTS[0], "full": EVENTS[1], "unicode": EVENTS[2]},
    "ViewBatch.v1": {
        "events": {**HEADER, "events": EVENTS},
        "heartbeat": {**HEADER, "events": []},
        # The same value as any Avro writer may also put it: an array in blocks, one of them with its size.
        "blocks": {**HEADER, "events": EVENTS},
    },
    "ViewEvent.v2": {"plain": EVENTS_2[0], "full": EVENTS_2[2]},
    "ViewBatch.v2": {
        "events": {**HEADER_2, "events": EVENTS_2},
        "heartbeat": {**HEADER, "origin": "direct", "acknowledged": None, "traceparents": [], "events": []},
        "blocks": {**HEADER_2, "events": EVENTS_2},
    },
    "VideoMetadata.v1": {
        "full": {
            "video_id": "A",
            "title": "Ein Titel, with Ünïcode ✓",
            "channel_id": "channel-1",
            "channel_name": "Channel One",
            "created_at": NOON,
        }
    },
    "ViewCount.v1": {
        "known": {
            "video_id": "A",
            "kind": "view",
            "minute": NOON,
            "views": 2**40,
            "about": {"title": "✓", "channel_id": "channel-1", "channel_name": "Channel One", "created_at": NOON},
        },
        "unknown": {"video_id": "видео", "kind": "like", "minute": NOON, "views": 1, "about": None},
    },
    "BlockedViewer.v1": {
        "blocked": {
            "viewer_id": "viewer-1",
            "periods": [
                {"effective_from": NOON, "effective_until": NOON + dt.timedelta(hours=1)},
                {"effective_from": NOON + dt.timedelta(days=1), "effective_until": None},
            ],
        },
        "never": {"viewer_id": "viewer-2", "periods": []},
    },
    "RejectedEvents.v1": {
        "events": {
            **REJECTED,
            "batch_id": bytes(range(16)),
            "events": [
                {"index": 0, "reason": "late", "payload": b"\x00\xff"},
                {"index": 1999, "reason": "video_id_too_long", "payload": b""},
            ],
        },
        "record": {
            **REJECTED,
            "batch_id": None,
            "events": [{"index": -1, "reason": "unknown_schema", "payload": b"no avro"}],
        },
    },
}


def as_json(value: Any) -> Any:
    """A decoded value as JSON can hold it: bytes in hex, times in RFC 3339."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat(timespec="milliseconds") if isinstance(value, dt.datetime) else value


def _datum(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def _in_blocks(version: str, value: dict[str, Any]) -> bytes:
    event = json.loads((SCHEMAS / f"{version}.avsc").read_text())["fields"][-1]["type"]["items"]
    first, *rest = (_datum(fastavro.parse_schema(event), item) for item in value["events"])
    header = _datum(_schema(version), {**value, "events": []})[:-1]
    size = sum(map(len, rest))
    counts = [_datum("long", 1), _datum("long", -len(rest)) + _datum("long", size), _datum("long", 0)]
    return header + counts[0] + first + counts[1] + b"".join(rest) + counts[2]


def _schema(version: str) -> Any:
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{version}.avsc").read_text()))


def _without_docs(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_docs(item) for key, item in value.items() if key != "doc"}
    return [_without_docs(item) for item in value] if isinstance(value, list) else value


def pin(version: str) -> tuple[str, str]:
    """(CRC-64-AVRO fingerprint as sent, SHA-256 of the schema with its defaults but without its docs)."""
    path = SCHEMAS / f"{version}.avsc"
    plain = json.dumps(_without_docs(json.loads(path.read_text())), sort_keys=True)
    sent = fingerprint(to_parsing_canonical_form(_schema(version)), "CRC-64-AVRO")
    return sent, hashlib.sha256(plain.encode()).hexdigest()


def main() -> None:
    """Write what is missing."""
    listed = {line.split()[0] for line in VERSIONS.read_text().splitlines()} if VERSIONS.exists() else set()
    for path in sorted(SCHEMAS.glob("*.avsc")):
        version = path.stem
        sent, digest = pin(version)
        for case, value in EXAMPLES[version].items():
            stem = GOLDEN / f"{version}.{case}"
            if stem.with_name(f"{stem.name}.hex").exists():
                continue
            datum = _in_blocks(version, value) if case == "blocks" else _datum(_schema(version), value)
            encoded = b"\xc3\x01" + bytes.fromhex(sent) + datum
            stem.with_name(f"{stem.name}.hex").write_text(encoded.hex() + "\n")
            text = json.dumps(as_json(value), indent=1, ensure_ascii=False)
            stem.with_name(f"{stem.name}.json").write_text(text + "\n")
        if version not in listed:
            with VERSIONS.open("a") as versions:
                versions.write(f"{version} {sent} {digest}\n")


if __name__ == "__main__":
    main()
