"""Every schema version ever published still decodes, to the values it stood for, by every reader there is."""

import hashlib
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from schemas import registry
from udfs.logic.wire.batch_scan import Fault, Scan, scan

GOLDEN = Path(__file__).parents[1] / "golden" / "avro"
# Name, fingerprint, SHA-256 of each version, oldest first: append-only.
PINNED = [line.split() for line in (GOLDEN / "versions.txt").read_text().splitlines()]
CASES = sorted(path.stem for path in GOLDEN.glob("*.hex"))
BATCHES = [case for case in CASES if case.startswith("ViewBatch.")]
HOW_TO = "add it as the next version beside the old one, with an example in tests/golden/make_avro.py, and run that"


def value_of(case: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{case}.hex").read_text())


def expected(case: str) -> Any:
    return json.loads((GOLDEN / f"{case}.json").read_text())


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def without_docs(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_docs(item) for key, item in value.items() if key != "doc"}
    return [without_docs(item) for item in value] if isinstance(value, list) else value


def declared(version: str) -> Any:
    return json.loads((registry.FOLDER / f"{version}.avsc").read_text())


@pytest.mark.parametrize(("version", "fingerprint", "digest"), PINNED)
def test_a_published_schema_never_changes(version: str, fingerprint: str, digest: str) -> None:
    path = registry.FOLDER / f"{version}.avsc"
    assert path.exists(), f"schemas/avro/{version}.avsc is gone, but values of it may be in topics: put it back"
    plain = json.dumps(without_docs(declared(version)), sort_keys=True)
    assert hashlib.sha256(plain.encode()).hexdigest() == digest, (
        f"schemas/avro/{version}.avsc was published and may not change: put it back; to change it, {HOW_TO}"
    )
    name, number = version.split(".v")
    assert registry.prefix(name, int(number)) == registry.MARKER + bytes.fromhex(fingerprint)


def test_every_schema_is_pinned_and_has_golden_bytes() -> None:
    files = {path.stem for path in registry.FOLDER.glob("*.avsc")}
    assert files == {version for version, _, _ in PINNED}, f"a new schema needs its pin: {HOW_TO}"
    assert files == {case.rpartition(".")[0] for case in CASES}, f"a new schema needs golden bytes: {HOW_TO}"


def crc_64_avro(data: bytes) -> int:
    """As the Avro 1.12 specification has it, "Schema Fingerprints", bit by bit."""
    empty = 0xC15D213AA4D7A795
    fingerprint = empty
    for byte in data:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = (fingerprint >> 1) ^ (empty if fingerprint & 1 else 0)
    return fingerprint


@pytest.mark.parametrize(("version", "fingerprint", "_digest"), PINNED)
def test_fingerprints_are_the_specification_s(version: str, fingerprint: str, _digest: str) -> None:
    """So that a producer in any language names the schema by the same eight bytes, little-endian."""
    canonical = fastavro.schema.to_parsing_canonical_form(declared(version))
    assert '{"type":"long"}' not in canonical
    assert crc_64_avro(canonical.encode()).to_bytes(8, "little").hex() == fingerprint


def test_no_two_versions_share_a_fingerprint() -> None:
    assert len({fingerprint for _, fingerprint, _ in PINNED}) == len(PINNED)


@pytest.mark.parametrize("case", CASES)
def test_the_registry_decodes_every_past_value(case: str) -> None:
    name, value = registry.decode(value_of(case))
    assert name == case.split(".", maxsplit=1)[0]
    assert as_json(value) == expected(case)


@pytest.mark.parametrize("case", CASES)
def test_plain_fastavro_decodes_every_past_value(case: str) -> None:
    datum = io.BytesIO(value_of(case)[10:])
    schema = fastavro.parse_schema(declared(case.rpartition(".")[0]))
    value = fastavro.schemaless_reader(datum, schema, None)
    assert as_json(value) == expected(case)
    assert datum.read() == b""


@pytest.mark.parametrize("case", BATCHES)
def test_a_prefix_of_the_batch_schema_reads_the_header_alone(case: str) -> None:
    schema = declared(case.rpartition(".")[0])
    datum = io.BytesIO(value_of(case)[10:])
    header = fastavro.schemaless_reader(datum, fastavro.parse_schema({**schema, "fields": schema["fields"][:-1]}), None)
    want = expected(case)
    del want["events"]
    assert as_json(header) == want


@pytest.mark.parametrize("case", BATCHES)
def test_the_job_scans_every_past_batch(case: str) -> None:
    value = value_of(case)
    want = expected(case)
    found = scan(np.frombuffer(value, np.uint8), want["salt"], want["salts"])
    assert isinstance(found, Scan), f"{case}: the job would dead-letter it as {found!r}"
    assert found.batch_id.hex() == want["batch_id"]
    assert set(found.faults.tolist()) <= {Fault.NONE}
    events = [
        {
            "event_id": value[start : start + 16].hex(),
            "video_id": value[video_at : video_at + video_len].decode(),
            "viewed_at": viewed_at,
            "kind": value[kind_at : kind_at + kind_len].decode(),
            "viewer_id": value[viewer_at : viewer_at + viewer_len].decode(),
        }
        for (start, _end, video_at, video_len, kind_at, kind_len, viewer_at, viewer_len), viewed_at in zip(
            found.spans.tolist(), found.viewed_at.tolist(), strict=True
        )
    ]
    assert events == [
        {
            "event_id": event["event_id"],
            "video_id": event["video_id"],
            "viewed_at": round(datetime.fromisoformat(event["viewed_at"]).timestamp() * 1000),
            "kind": event["kind"],
            "viewer_id": event["viewer_id"] or "",
        }
        for event in want["events"]
    ]


@pytest.mark.parametrize("case", BATCHES)
def test_the_spans_of_a_scanned_batch_are_events_that_decode_alone(case: str) -> None:
    """What a rejected event's payload holds: the datum of one ViewEvent."""
    value = value_of(case)
    want = expected(case)
    found = scan(np.frombuffer(value, np.uint8), want["salt"], want["salts"])
    assert isinstance(found, Scan)
    event = declared(case.rpartition(".")[0])["fields"][-1]["type"]["items"]
    schema = fastavro.parse_schema(event)
    decoded = [
        fastavro.schemaless_reader(io.BytesIO(value[start:end]), schema, None)
        for start, end in found.spans[:, :2].tolist()
    ]
    assert as_json(decoded) == want["events"]


def test_bytes_of_an_unknown_schema_are_refused_with_what_is_known() -> None:
    with pytest.raises(registry.UnknownSchemaError, match=r"c301ffff.*ViewBatch\.v1"):
        registry.decode(b"\xc3\x01" + b"\xff" * 8 + b"\x00")
