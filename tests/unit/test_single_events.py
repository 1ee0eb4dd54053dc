"""Single events become batches that the count job reads: the same events, by salt, whatever they came in."""

import io
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import fastavro
import mmh3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from schemas.topics import RECORD_BYTES_MAX
from tests.support.batch_versions import ADDED, VERSIONS, newer
from udfs.logic.wire.batch_scan import Scan, scan
from udfs.logic.wire.single_events import (
    DEFAULT_PROJECT,
    Origin,
    Packed,
    Packer,
    Unknown,
    WriterSchema,
    own_schema,
    packer_of,
    topic_mark,
)

SALTS = 4
TOPIC = "singles"
NOW_MS = 1_767_225_600_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
OTHER_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Play",
    "fields": [
        {"name": "video_id", "type": "string"},
        {"name": "seconds", "type": "double"},
        {"name": "event_id", "type": ["null", "string"]},
        {"name": "viewed_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "viewer_id", "type": "string"},
    ],
}


def origin(number: int) -> Origin:
    return Origin([n % 3 for n in range(number)], [100 + n for n in range(number)], [NOW_MS + n for n in range(number)])


def pack(packer: Packer, values: list[bytes | None]) -> Packed:
    return packer.pack(values, origin(len(values)), NOW_MS)


def events(packed: Packed, project: str = DEFAULT_PROJECT) -> list[dict[str, Any]]:
    """Every event, read by fastavro and by the count job's own scan, which must agree on salts and on no fault.

    Each is of the project, and comes without what only version 2 has.
    """
    found = []
    for salt, value, number in packed.batches:
        scanned = scan(np.frombuffer(value, np.uint8), salt, SALTS)
        assert isinstance(scanned, Scan), scanned
        assert not scanned.faults.any()
        name, batch = registry.decode(value)
        assert (name, batch["salt"], batch["salts"], len(batch["events"])) == ("ViewBatch", salt, SALTS, number)
        assert len(scanned.spans) == number
        assert (batch["origin"], batch["acknowledged"], batch["traceparents"]) == ("pack", None, [])
        for one in batch["events"]:
            assert {name: one.pop(name) for name in ADDED[2]} == {"agent": None, "exclusion": None, "project": project}
        found += batch["events"]
    return found


def datum(schema: Any, value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def view(number: int, **more: Any) -> dict[str, Any]:
    empty = {"kind": "view", "viewer_id": None, "country": None, "device": None}
    return {
        "event_id": uuid.uuid5(uuid.NAMESPACE_OID, str(number)).bytes,
        "video_id": f"v{number % 7}",
        "viewed_at": AT,
    } | (empty | more)


VIEWS = [view(n) for n in range(500)] + [view(1000, kind="like", viewer_id="ü", country="DE", device="tv")]


@pytest.mark.parametrize(
    ("framing", "head"),
    [("plain", b""), ("single_object", registry.prefix("ViewEvent")), ("confluent", b"\0\0\0\0\7")],
)
def test_events_in_avro_are_copied_in_their_order(framing: str, head: bytes) -> None:
    values: list[bytes | None] = [head + datum(registry.schema("ViewEvent"), one) for one in VIEWS]
    packed = pack(
        packer_of(framing, TOPIC, SALTS, 50, [WriterSchema(None, 7 if framing == "confluent" else None)]), values
    )
    assert packed.refused == []
    assert max(number for _, _, number in packed.batches) == 50
    by_salt = sorted(VIEWS, key=lambda one: mmh3.hash(one["event_id"], 0, signed=False) % SALTS)
    assert events(packed) == by_salt


def test_what_is_no_event_is_refused_by_its_row_and_the_others_go_on() -> None:
    good = datum(registry.schema("ViewEvent"), VIEWS[0])
    prefix = registry.prefix("ViewEvent")
    values = [
        prefix + good,
        None,
        b"",
        prefix[:5],
        prefix + good[:-1],
        prefix + good + b"x",
        good + bytes(20),
        prefix + good,
    ]
    packed = pack(packer_of("single_object", TOPIC, SALTS, 50), values)
    assert events(packed) == [VIEWS[0], VIEWS[0]]
    assert packed.refused == [
        (1, "no_value"),
        (2, "truncated"),
        (3, "truncated"),
        (4, "truncated"),
        (5, "bytes_after_end"),
        (6, "unknown_schema"),
    ]


def test_json_is_taken_as_ingest_takes_it_and_what_is_missing_comes_from_the_record() -> None:
    own = [
        {"video_id": "ü", "event_id": str(uuid.UUID(int=5)), "viewed_at": "2026-01-01T01:00:00+01:00", "kind": "like"},
        {"video_id": "b", "viewer_id": "w", "more": [1]},
    ]
    packed = pack(packer_of("json", TOPIC, SALTS, 50), [json.dumps(one).encode() for one in own])
    found = {one["video_id"]: one for one in events(packed)}
    assert packed.refused == []
    assert found["ü"] == view(0, event_id=uuid.UUID(int=5).bytes, video_id="ü", kind="like")
    # Of partition 1, offset 101, a millisecond later.
    mark = topic_mark(TOPIC) + (1).to_bytes(4, "big") + (101).to_bytes(8, "big")
    assert found["b"]["event_id"] == mark
    assert found["b"]["viewed_at"].timestamp() * 1000 == NOW_MS + 1
    assert found["b"]["viewer_id"] == "w"
    assert topic_mark("another") != topic_mark(TOPIC)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"nothing", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b"\xff", "no JSON object"),
        (b"{}", "video_id=None"),
        (b'{"video_id": 7}', "video_id=7"),
        (b'{"video_id": "v", "event_id": "nil"}', "event_id='nil'"),
        (b'{"video_id": "v", "viewed_at": "2026-01-01T00:00:00"}', "viewed_at="),
        (b'{"video_id": "v", "viewed_at": true}', "viewed_at=True"),
        (b'{"video_id": "v", "viewed_at": 1e300}', "viewed_at="),
        (b'{"video_id": "v", "kind": {}}', "kind={}"),
        (b'{"video_id": "v", "country": 1}', "country=1"),
        (b'{"video_id": "v", "viewerId": "w"}', "viewerId: viewerId is not known"),
        (b'{"video_id": "v", "event_id": "9b2f6f0e-1c1c-4c0e-8d53-0d9d3c7a5e11"}', "viewed_at: missing"),
        (b'{"video_id": "v", "viewed_at": 1767225600}', "viewed_at: ms since 1970 is not in the years"),
    ],
)
def test_a_bad_field_is_named(value: bytes, reason: str) -> None:
    packed = pack(packer_of("json", TOPIC, SALTS, 50), [value])
    ((row, found),) = packed.refused
    assert (row, found[: len(reason)]) == (0, reason)
    assert packed.batches == []


@pytest.mark.parametrize(
    ("framing", "head"),
    [("plain", b""), ("confluent", b"\0\1\2\3\4"), ("single_object", registry.prefix_of(OTHER_SCHEMA))],
)
def test_avro_of_another_schema_is_read_by_its_names(framing: str, head: bytes) -> None:
    number = 0x01020304 if framing == "confluent" else None
    packer = packer_of(framing, TOPIC, SALTS, 50, [WriterSchema(OTHER_SCHEMA, number)])
    one = {"video_id": "v", "seconds": 1.5, "event_id": None, "viewed_at": AT, "viewer_id": "w"}
    value = head + datum(OTHER_SCHEMA, one)
    packed = pack(packer, [value, value + b"x", value[:-1]])
    (found,) = events(packed)
    assert (found["video_id"], found["viewed_at"], found["viewer_id"], found["kind"]) == ("v", AT, "w", "view")
    assert [row for row, _ in packed.refused] == [1, 2]


def test_a_record_has_no_more_bytes_than_the_topic_takes_and_an_event_that_has_is_refused() -> None:
    values: list[bytes | None] = [datum(registry.schema("ViewEvent"), view(n, device="d" * 3000)) for n in range(6000)]
    values.append(datum(registry.schema("ViewEvent"), view(6000, device="d" * RECORD_BYTES_MAX)))
    packed = pack(packer_of("plain", TOPIC, 1, 100_000), values)
    assert packed.refused == [(6000, "too_long")]
    assert sum(number for _, _, number in packed.batches) == 6000
    assert 4 < len(packed.batches) < 8
    assert max(len(value) for _, value, _ in packed.batches) < RECORD_BYTES_MAX


def test_json_nested_without_end_is_refused() -> None:
    deep = b'{"a": ' + b"[" * 100_000
    assert pack(packer_of("json", TOPIC, SALTS, 50), [deep]).refused[0][0] == 0


def test_packed_again_the_events_are_the_same() -> None:
    values: list[bytes | None] = [b'{"video_id": "v"}'] * 100
    packer = packer_of("json", TOPIC, SALTS, 50)
    first, second = (events(pack(packer, values)) for _ in range(2))
    assert first == second
    assert len({one["event_id"] for one in first}) == 100


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from(["json", "plain", "single_object", "confluent"]))
def test_no_bytes_raise(noise: list[bytes], framing: str) -> None:
    own = WriterSchema(None, 7 if framing == "confluent" else None)
    packed = pack(packer_of(framing, TOPIC, SALTS, 3, [own]), list(noise))
    assert len(packed.refused) + sum(number for _, _, number in packed.batches) == len(noise)


def exchanged() -> dict[str, Any]:
    """ViewEvent as a later version might be: the same types, two texts in each other's place."""
    fields = list(json.loads((registry.FOLDER / "ViewEvent.v1.avsc").read_text())["fields"])
    fields[1], fields[3] = fields[3], fields[1]
    return {"type": "record", "name": "ViewEvent", "fields": fields}


@pytest.mark.parametrize("framing", ["single_object", "confluent"])
def test_a_record_of_a_schema_that_is_not_named_is_refused_and_one_that_is_has_its_fields_in_their_places(
    framing: str,
) -> None:
    later = exchanged()
    one = view(1, video_id="cats")
    heads = {"single_object": registry.prefix_of(later), "confluent": b"\0\0\0\0\2"}
    value = heads[framing] + datum(fastavro.parse_schema(dict(later)), one)
    numbers = (1, 2) if framing == "confluent" else (None, None)
    own, new = WriterSchema(None, numbers[0]), WriterSchema(later, numbers[1])
    assert pack(packer_of(framing, TOPIC, SALTS, 9, [own]), [value]).refused == [(0, "unknown_schema")]
    both = packer_of(framing, TOPIC, SALTS, 9, [own, new])
    first = (registry.prefix("ViewEvent") if framing == "single_object" else b"\0\0\0\0\1") + datum(
        registry.schema("ViewEvent"), one
    )
    packed = pack(both, [value, first, b"\0\0\0\0\3" + value[5:]])
    assert packed.refused == [(2, "unknown_schema")]
    assert events(packed) == [one, one]


@pytest.mark.parametrize("framing", ["json", "plain", "single_object"])
def test_every_event_is_of_the_project_that_its_job_has(framing: str) -> None:
    one = view(1, video_id="cats", device="tv")
    own = datum(registry.schema("ViewEvent"), one)
    as_json = json.dumps({**one, "event_id": str(uuid.UUID(bytes=one["event_id"])), "viewed_at": NOW_MS})
    value = {"json": as_json.encode(), "plain": own, "single_object": registry.prefix("ViewEvent") + own}[framing]
    assert events(pack(packer_of(framing, TOPIC, SALTS, 2, project="shop"), [value] * 5), "shop") == [one] * 5


@pytest.mark.parametrize("unknown", list(Unknown))
@pytest.mark.parametrize("version", VERSIONS)
def test_events_of_every_version_are_packed_as_version_1_has_them(unknown: Unknown, version: int) -> None:
    one = view(1, video_id="cats")
    own = own_schema(f"ViewEvent.v{version}")
    value = registry.prefix("ViewEvent", version) + datum(registry.schema("ViewEvent", version), newer(one, version))
    packed = pack(packer_of("single_object", TOPIC, SALTS, 9, [WriterSchema(own)], unknown), [value])
    assert packed.refused == []
    assert events(packed) == [one]


@pytest.mark.parametrize(
    ("framing", "schemas"),
    [
        ("confluent", [WriterSchema(None)]),
        ("single_object", [WriterSchema(None, 7)]),
        ("plain", [WriterSchema(None), WriterSchema(OTHER_SCHEMA)]),
        ("confluent", [WriterSchema(None, 7), WriterSchema(OTHER_SCHEMA, 7)]),
        ("plain", [WriterSchema({"type": "record", "name": "P", "fields": [{"name": "videoId", "type": "string"}]})]),
        ("plain", []),
    ],
)
def test_schemas_that_do_not_go_with_the_framing_are_refused(framing: str, schemas: list[WriterSchema]) -> None:
    with pytest.raises(ValueError, match=r"number|head|videoId|no schema"):
        packer_of(framing, TOPIC, SALTS, 9, schemas)


def test_what_becomes_of_fields_that_no_event_has_is_a_setting() -> None:
    values: list[bytes | None] = [b'{"video_id": "v", "viewerId": "w"}', b'{"video_id": "v", "position": 3}']
    refused = {
        mode: [row for row, _ in pack(packer_of("json", TOPIC, SALTS, 9, unknown=mode), values).refused]
        for mode in Unknown
    }
    assert refused == {Unknown.IGNORED: [], Unknown.MISSPELT_REFUSED: [0], Unknown.REFUSED: [0, 1]}


def test_a_heartbeat_is_a_batch_without_events_for_each_salt() -> None:
    found = dict(Packer(SALTS, 1).heartbeats(NOW_MS))
    assert list(found) == list(range(SALTS))
    for salt, value in found.items():
        scanned = scan(np.frombuffer(value, np.uint8), salt, SALTS)
        assert isinstance(scanned, Scan)
        assert len(scanned.spans) == 0
