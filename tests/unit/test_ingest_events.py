"""What ingest makes of a body: formats, limits, ids and times. No server."""

import io
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import fastavro
import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import event_ids, limits
from schemas.fields import AGENT_FIELD, EVENT_FIELDS
from schemas.registry import decode, newest, schema
from schemas.varint import varint
from schemas.view_records import event_tail
from services.ingest import events, packing
from services.ingest.idempotency import key_of
from udfs.logic.stream.time_rules import is_late

NOW_MS = 1_767_225_600_000
ID = "7f9c24e8-3b12-4fef-91e0-56a2d5a3f0b1"
SALTS = 16
TERMS = events.Terms("shop")
STRICT = events.Terms("shop", is_strict=True)
# The fields that are texts, and how long each may be.
TEXTS = {
    name: getattr(limits, f"{name.upper()}_BYTES_MAX") for name in EVENT_FIELDS if name not in {"event_id", "viewed_at"}
}


def body(*items: Any) -> bytes:
    return json.dumps({"events": items}).encode()


def parse_json(data: bytes) -> events.Parsed:
    return events.parse_json(data, TERMS)


def parse_ndjson(data: bytes) -> events.Parsed:
    return events.parse_ndjson(data, TERMS)


def packed(parsed: events.Parsed) -> packing.Packed:
    return packing.pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=SALTS)


def event(**fields: Any) -> dict[str, Any]:
    return {"event_id": ID, "video_id": "A", "viewed_at": NOW_MS} | fields


def written(result: packing.Packed) -> list[dict[str, Any]]:
    """Every packed event, read back by an independent decoder."""
    found: list[dict[str, Any]] = []
    for salt, (block, places) in enumerate(zip(result.blocks, result.indexes, strict=True)):
        value = packing.batch_value([block], len(places), producer_id="p", salt=salt, salts=SALTS, now_ms=NOW_MS)
        name, batch = decode(value)
        assert (name, batch["salt"], batch["salts"], batch["producer_id"]) == ("ViewBatch", salt, SALTS, "p")
        for one in batch["events"]:
            assert mmh3.hash(one["event_id"], 0, signed=False) % SALTS == salt
        found += batch["events"]
    return found


def refused(item: dict[str, Any]) -> list[tuple[int, str | None]]:
    parsed = parse_json(body(event(), item))
    assert len(written(packed(parsed))) == 1
    return [(r.index, r.field) for r in parsed.rejected + packed(parsed).rejected]


def test_a_whole_event_is_written_as_sent() -> None:
    sent = event(kind="like", viewer_id="v", country="DE", device="tv", viewed_at="2026-01-01T01:00:00+01:00")
    assert written(packed(parse_json(body(sent)))) == [
        {
            "event_id": uuid.UUID(ID).bytes,
            "video_id": "A",
            "viewed_at": datetime(2026, 1, 1, tzinfo=UTC),
            "kind": "like",
            "viewer_id": "v",
            "country": "DE",
            "device": "tv",
            "agent": None,
            "exclusion": None,
            "project": None,
        }
    ]


@pytest.mark.parametrize("more", [{}, {"event_id": ID.upper()}, {"event_id": None}, {"position": 1}, {"kind": ""}])
@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_ids_that_are_text_are_taken_beside_whatever_others(more: dict[str, Any], form: str) -> None:
    sent = [event(event_id="evt_1"), event(event_id=f"{{{ID}}}", kind="like"), event(kind="share") | more]
    parsed = parse_json(body(*sent)) if form == "json" else parse_ndjson("\n".join(map(json.dumps, sent)).encode())
    found = {one["kind"]: one["event_id"] for one in written(packed(parsed))}
    assert found["view"] == event_ids.id_of_text("evt_1", "shop").bytes
    assert found["like"] == uuid.UUID(ID).bytes
    assert len(found) + len(parsed.rejected) == 3
    assert [one.index for one in parsed.rejected] == ([2] if "kind" in more else [])


@pytest.mark.parametrize(
    ("item", "field", "value", "remedy"),
    [
        ({"viewed_at": 1}, "video_id", None, "send 1 to 64 bytes"),
        (event(video_id=""), "video_id", "", "send 1 to 64 bytes"),
        (event(video_id=[7]), "video_id", "[7]", "send 1 to 64 bytes"),
        (event(video_id="é" * 33), "video_id", "é" * 33, "send 1 to 64 bytes"),
        (event(kind="x" * 99), "kind", "x" * 77 + "...", "send 1 to 32 bytes"),
        (event(kind="blocked:view"), "kind", "blocked:view", "send 1 to 32 bytes"),
        (event(device={"a": 1}), "device", '{"a": 1}', "send at most 64 bytes"),
        (event(event_id="undefined"), "event_id", "undefined", "send a UUID or a text"),
        (
            event(event_id="00000000000000000000000000000000"),
            "event_id",
            str(uuid.UUID(int=0)),
            "send a UUID or a text",
        ),
        (event(event_id=False), "event_id", "false", "send a UUID or a text"),
        (event(viewed_at="now"), "viewed_at", "now", "send the time of the view"),
        (event(viewed_at=1_767_225_600), "viewed_at", "1767225600", "send the time of the view"),
        (event(viewed_at=None), "viewed_at", None, "send the time of the view"),
        (event(viewed_at=NOW_MS + 10**9), "viewed_at", str(NOW_MS + 10**9), "set the clock that made it"),
        (event(viewed_at=NOW_MS - 10**9), "viewed_at", str(NOW_MS - 10**9), "leave the event out"),
        (event(viewedAt=5), "viewedAt", "5", "write viewed_at, or leave it out"),
        ({"x" * 99: 1, **event(**{"video-id" + "-" * 99: 1})}, "video-id" + "-" * 53 + "...", "1", "write video_id"),
        (7, None, None, "send a JSON object"),
    ],
)
def test_a_rejection_names_the_value_and_what_to_do(
    item: Any, field: str | None, value: str | None, remedy: str
) -> None:
    parsed = parse_json(body(event(), item))
    reach = packing.Reach(past_ms=10**8, future_ms=10**8)
    result = packing.pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=SALTS, reach=reach)
    (found,) = parsed.rejected + result.rejected
    assert (found.index, found.field, found.value) == (1, field, value)
    assert found.remedy.startswith(remedy)
    assert found.reason


def test_a_rejection_of_an_event_in_avro_names_the_value() -> None:
    (found,) = parse_avro(avro([record(video_id="")])).rejected
    assert (found.field, found.value, found.remedy) == ("video_id", "", "send 1 to 64 bytes of UTF-8")


def test_what_is_nested_too_deep_is_rejected_alone_in_lines_and_as_a_whole_in_one_object() -> None:
    deep = '{"video_id":"A","x":' + "[" * 100_000 + "]" * 100_000 + "}"
    parsed = parse_ndjson(f'{{"video_id":"A"}}\n{deep}'.encode())
    assert ([one.index for one in parsed.rejected], len(parsed.events)) == ([1], 1)
    for data in (f'{{"events":[{deep}]}}', f'{{"events":{deep}}}', deep, "[" * 100_000):
        with pytest.raises(events.BodyError):
            parse_json(data.encode())


LATENESS_MS = 600_000


@given(st.lists(st.integers(-3 * LATENESS_MS, 60_000), min_size=1, max_size=8), st.integers(0, 60_000))
def test_events_that_the_stream_takes_for_late_are_taken_and_named(ahead_ms: list[int], past_ms: int) -> None:
    now_ms = NOW_MS + past_ms
    parsed = parse_json(body(*(event(viewed_at=now_ms + ahead) for ahead in ahead_ms), event(device="d" * 99)))
    reach = packing.Reach(past_ms=10**8, future_ms=10**8, lateness_ms=LATENESS_MS)
    result = packing.pack(parsed.events, parsed.indexes, now_ms=now_ms, salts=SALTS, reach=reach)
    late = [n for n, ahead in enumerate(ahead_ms) if is_late(now_ms + ahead, now_ms, LATENESS_MS)]
    assert (result.late, result.count) == (late, len(ahead_ms))


def test_a_rejected_event_is_not_late_as_well() -> None:
    old = [event(viewed_at=NOW_MS - 10**7, device="é" * 40), event(viewed_at=NOW_MS - 10**7)]
    parsed = parse_json(body(*old))
    reach = packing.Reach(past_ms=10**8, future_ms=10**8, lateness_ms=LATENESS_MS)
    result = packing.pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=SALTS, reach=reach)
    assert ([one.index for one in result.rejected], result.late) == ([0], [1])


@pytest.mark.parametrize(
    ("sent_at", "found"),
    [
        (NOW_MS, NOW_MS), ("2026-01-01T00:00:00Z", NOW_MS), (None, None), (1_767_225_600, None), ("now", None),
        (True, None), ([], None), (1 << 70, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [{}, {"event_id": "evt"}, {"position": 1}, {"kind": ""}])
def test_when_a_body_was_sent_changes_no_event(sent_at: Any, found: int | None, more: dict[str, Any]) -> None:
    sent = {"events": [event(), event() | more], "sent_at": sent_at}
    without, parsed = (parse_json(json.dumps(one).encode()) for one in ({"events": sent["events"]}, sent))
    assert parsed.sent_at_ms == found
    assert parsed.events == without.events
    assert set(parsed.ignored) - set(without.ignored) == (
        {"sent_at"} if found is None and sent_at is not None else set()
    )


@pytest.mark.parametrize("form", ["json", "ndjson"])
@pytest.mark.parametrize("key", [None, "k"])
def test_a_strict_reading_rejects_events_with_unknown_fields_alone(form: str, key: str | None) -> None:
    strict = events.Terms("shop", key_of([key] if key else [], NOW_MS), is_strict=True)
    sent = [event(), event(position=3), event(event_id="evt_1")]
    if form == "json":
        parsed = events.parse_json(body(*sent), strict)
    else:
        parsed = events.parse_ndjson("\n".join(map(json.dumps, sent)).encode(), strict)
    assert [(one.index, one.field, one.value, one.remedy) for one in parsed.rejected] == [
        (1, "position", "3", "leave it out")
    ]
    assert (list(parsed.indexes), parsed.ignored) == ([0, 2], [])


def test_a_strict_reading_refuses_a_file_whose_schema_has_unknown_fields() -> None:
    declared = {**schema("ViewEvent"), "fields": [*schema("ViewEvent")["fields"], {"name": "position", "type": "int"}]}
    with pytest.raises(events.BodyError, match="position"):
        events.parse_avro(avro([record(position=3)], written_by=declared), STRICT, unpacked_bytes_max=1 << 20)
    whole = events.parse_avro(avro([record()]), STRICT, unpacked_bytes_max=1 << 20)
    assert len(whole.events) == 1


def test_every_event_of_a_request_has_the_request_s_tail() -> None:
    parsed = parse_json(body(event(), event(event_id=None, device="tv"), {"video_id": "B"}))
    tail = event_tail(agent="browser", project="shop")
    result = packing.pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=SALTS, tail=tail)
    found = written(result)
    assert [(one["agent"], one["exclusion"], one["project"]) for one in found] == [("browser", None, "shop")] * 3


def test_the_fields_that_ingest_takes_are_those_that_are_named() -> None:
    assert set(events.ViewEvent.__struct_fields__) == {*EVENT_FIELDS, AGENT_FIELD}


@pytest.mark.parametrize("form", ["json", "ndjson", "avro"])
def test_every_text_of_an_event_is_taken_in_every_form_and_written(form: str) -> None:
    texts = {name: f"{name} ✓" for name in TEXTS}
    if form == "avro":
        written_by = schema("ViewEvent", newest("ViewEvent"))
        parsed = parse_avro(avro([record(**texts)], written_by=written_by))
    else:
        one = event(**texts)
        parsed = parse_json(body(one)) if form == "json" else parse_ndjson(json.dumps(one).encode())
    (found,) = written(packed(parsed))
    assert {name: found.get(name) for name in texts} == texts


@pytest.mark.parametrize(("name", "bytes_max"), TEXTS.items())
def test_a_text_that_is_a_byte_too_long_is_refused(name: str, bytes_max: int) -> None:
    assert refused(event(**{name: "é" * (bytes_max // 2) + "x"})) == [(1, name)]


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ({"event_id": ID, "viewed_at": 1}, "video_id"),
        (event(video_id=""), "video_id"),
        (event(video_id=7), "video_id"),
        (event(video_id="x" * 65), "video_id"),
        (event(video_id="é" * 33), "video_id"),
        (event(kind=""), "kind"),
        (event(kind="é" * 17), "kind"),
        (event(viewer_id="é" * 33), "viewer_id"),
        (event(country="é" * 33), "country"),
        (event(device="é" * 33), "device"),
        (event(event_id="undefined"), "event_id"),
        (event(event_id=12), "event_id"),
        (event(event_id="evt_1", viewed_at=None), "viewed_at"),
        (event(viewed_at="yesterday"), "viewed_at"),
        (event(viewed_at="2026-01-01T00:00:00"), "viewed_at"),
        (event(viewed_at=NOW_MS // 1000), "viewed_at"),
        (event(viewed_at=10**30), "viewed_at"),
        (event(viewed_at=True), "viewed_at"),
        (event(viewed_at=-1), "viewed_at"),
        (event(viewed_at=None), "viewed_at"),
    ],
)
def test_a_bad_event_is_refused_alone_and_by_field(item: dict[str, Any], name: str) -> None:
    assert refused(item) == [(1, name)]


def test_an_event_that_is_no_object_is_refused_alone() -> None:
    parsed = parse_json(body(3, event()))
    assert [(r.index, r.field) for r in parsed.rejected] == [(0, None)]
    assert list(parsed.indexes) == [1]


@pytest.mark.parametrize("text", [b"\\ud800", b"\\udc80", b"\xff", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_string_that_is_no_utf8_is_refused_alone(text: bytes) -> None:
    parsed = parse_json(b'{"events":[{"video_id":"%b"},{"video_id":"A"}]}' % text)
    assert [r.index for r in parsed.rejected] == [0]
    assert len(written(packed(parsed))) == 1


def test_ids_and_times_are_made_where_both_are_absent() -> None:
    result = packed(parse_json(body({"video_id": "A"}, event())))
    assert [(made.index, made.viewed_at) for made in result.made] == [(0, NOW_MS)]
    assert uuid.UUID(result.made[0].event_id).bytes in {one["event_id"] for one in written(result)}


def test_a_time_without_an_id_is_kept() -> None:
    result = packed(parse_json(body({"video_id": "A", "viewed_at": NOW_MS - 5})))
    assert result.made[0].viewed_at == NOW_MS - 5


def test_a_uuid7_brings_its_time() -> None:
    at_ms = NOW_MS - 12_345
    identity = uuid.UUID(int=at_ms << 80 | 7 << 76 | 2 << 62 | 99)
    parsed = parse_json(body({"video_id": "A", "event_id": str(identity)}))
    (one,) = written(packed(parsed))
    assert one["viewed_at"] == datetime.fromtimestamp(at_ms / 1000, UTC)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"events":3}', b'{"event":[]}', b"\xff\xfe", b"null"])
def test_a_body_that_is_not_the_shape_is_an_error(raw: bytes) -> None:
    with pytest.raises(events.BodyError):
        parse_json(raw)


def test_ndjson_counts_lines_that_are_not_blank() -> None:
    lines = [json.dumps(event()), "", "{broken", json.dumps(event(video_id="B")), ""]
    parsed = parse_ndjson("\r\n".join(lines).encode())
    assert [(r.index, r.field) for r in parsed.rejected] == [(1, None)]
    assert list(parsed.indexes) == [0, 2]
    assert len(parse_ndjson(b"\n".join(json.dumps(event()).encode() for _ in range(3))).events) == 3


def avro(records: list[dict[str, Any]], *, codec: str = "null", written_by: Any = None) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, written_by or schema("ViewEvent"), records, codec=codec)
    return out.getvalue()


def record(**fields: Any) -> dict[str, Any]:
    return {"event_id": uuid.UUID(ID).bytes, "video_id": "A", "viewed_at": NOW_MS} | fields


def parse_avro(data: bytes) -> events.Parsed:
    return events.parse_avro(data, TERMS, unpacked_bytes_max=1 << 20)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_an_avro_container_is_read(codec: str) -> None:
    parsed = parse_avro(avro([record(), record(video_id=""), record(kind="like")], codec=codec))
    assert [(r.index, r.field) for r in parsed.rejected] == [(1, "video_id")]
    assert list(parsed.indexes) == [0, 2]
    assert {one["kind"] for one in written(packed(parsed))} == {"view", "like"}


def other_types(**types: Any) -> dict[str, Any]:
    """The first version's schema with other types of some fields."""
    own = schema("ViewEvent")
    fields = [{**field, "type": types.get(field["name"], field["type"])} for field in own["fields"]]
    return {key: own[key] for key in ("type", "name")} | {"fields": fields}


def test_a_time_in_avro_may_be_a_plain_number_of_ms() -> None:
    sent = avro([record()], written_by=other_types(viewed_at="long"))
    assert [one.viewed_at for one in parse_avro(sent).events] == [NOW_MS]


@pytest.mark.parametrize(
    ("field", "kind", "at"),
    [
        ("viewed_at", {"type": "int", "logicalType": "date"}, 20_000),
        ("viewed_at", {"type": "long", "logicalType": "local-timestamp-millis"}, NOW_MS),
        ("viewed_at", {"type": "int", "logicalType": "time-millis"}, 5),
        (
            "event_id",
            {"type": "fixed", "name": "EventId", "size": 16, "logicalType": "decimal", "precision": 38},
            NOW_MS,
        ),
    ],
)
def test_what_a_writer_of_avro_calls_something_else_is_refused(field: str, kind: dict[str, Any], at: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, other_types(viewed_at="long"), record(viewed_at=at))
    block = out.getvalue()
    whole = avro([], written_by=other_types(**{field: kind}))
    parsed = parse_avro(whole + varint(1) + varint(len(block)) + block + whole[-16:])
    assert [(r.index, r.field) for r in parsed.rejected] == [(0, field)]


def test_an_avro_container_that_breaks_off_gives_what_came_before() -> None:
    parsed = parse_avro(avro([record() for _ in range(3)])[:-40])
    assert not parsed.events
    assert [r.index for r in parsed.rejected] == [0]
    whole = avro([record() for _ in range(3)])
    parsed = parse_avro(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(parsed.events) == 3
    assert [r.index for r in parsed.rejected] == [3]


@pytest.mark.parametrize(
    "fields",
    [
        [{"name": "x", "type": {"type": "array", "items": "null"}}],
        [{"name": "x", "type": {"type": "map", "values": "null"}}],
        [{"name": "x", "type": ["null", "Evil"]}],
        [],
    ],
)
def test_a_schema_that_is_not_flat_is_refused(fields: list[Any]) -> None:
    declared = {"type": "record", "name": "Evil", "fields": fields}
    header = {"avro.schema": json.dumps(declared).encode()}
    entries = b"".join(varint(len(k)) + k.encode() + varint(len(v)) + v for k, v in header.items())
    data = b"Obj\x01" + varint(1) + entries + b"\x00" + b"s" * 16
    with pytest.raises(events.BodyError):
        parse_avro(data)


@pytest.mark.parametrize("data", [b"", b"Obj", b"Obj\x01", b"Obj\x01\xff" * 9, b"x" * 100])
def test_no_container_is_an_error(data: bytes) -> None:
    with pytest.raises(events.BodyError):
        parse_avro(data)


def test_a_deflated_bomb_is_refused() -> None:
    bomb = avro([record(viewer_id="\x00" * 100_000) for _ in range(50)], codec="deflate")
    assert len(bomb) < 100_000
    parsed = parse_avro(bomb)
    assert not [one for one in parsed.events if one.viewer_id]
    assert "unpacks to more" in parsed.rejected[-1].reason


def test_a_block_cannot_claim_more_records_than_bytes() -> None:
    whole = avro([record()])
    hostile = whole[: whole.rindex(whole[-16:], 0, -16) + 16] + varint(10**12) + varint(0)
    parsed = parse_avro(hostile + whole[-16:])
    assert [r.index for r in parsed.rejected] == [0]


def test_the_longest_event_is_within_the_bound() -> None:
    sent = event(**{name: "x" * bytes_max for name, bytes_max in TEXTS.items()})
    result = packed(parse_json(body(sent)))
    assert max(map(len, result.blocks)) <= packing.EVENT_BYTES_MAX


HOUR_MS = 3_600_000
REACH = packing.Reach(past_ms=168 * HOUR_MS, future_ms=660_000)


@pytest.mark.parametrize(
    ("viewed_at", "said"),
    [
        (NOW_MS + 660_000, None),
        (NOW_MS + 661_000, "661 s ahead"),
        (NOW_MS - 168 * HOUR_MS, None),
        (NOW_MS - 169 * HOUR_MS, "169 h ago"),
        ("2025-12-01T00:00:00Z", "h ago"),
    ],
)
def test_what_the_services_own_clock_says_cannot_count_is_refused(viewed_at: int | str, said: str | None) -> None:
    parsed = parse_json(body(event(viewed_at=viewed_at)))
    packed_within = packing.pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=SALTS, reach=REACH)
    if said is None:
        assert packed_within.count == 1
    else:
        ((refusal),) = packed_within.rejected
        assert refusal.field == "viewed_at"
        assert said in refusal.reason


def test_names_that_are_not_known_are_told_and_no_event_is_the_slower_for_a_neighbour_that_is_bad() -> None:
    more = event(position=3, at={"deep": [1]})
    for parsed in (parse_json(body(more, event())), parse_ndjson(json.dumps(more).encode())):
        assert (parsed.ignored, parsed.rejected) == (["at", "position"], [])
    parsed = parse_json(body(more, event(video_id=""), event(viewerId="v")))
    assert parsed.ignored == ["at", "position"]
    assert [(one.index, one.field) for one in parsed.rejected] == [(1, "video_id"), (2, "viewerId")]
    many = parse_json(body(event(**{f"x{n}" * 90: n for n in range(99)})))
    assert len(many.ignored) == events.IGNORED_NAMES_MAX
    assert {len(name) for name in many.ignored} == {events.IGNORED_NAME_LENGTH_MAX}


def test_a_container_tells_of_its_writers_fields() -> None:
    declared = {**schema("ViewEvent"), "fields": [*schema("ViewEvent")["fields"], {"name": "position", "type": "int"}]}
    parsed = parse_avro(avro([record(position=3)], written_by=declared))
    assert (len(parsed.events), parsed.ignored) == (1, ["position"])
    declared["fields"] = [*schema("ViewEvent")["fields"], {"name": "viewerId", "type": "string"}]
    with pytest.raises(events.BodyError, match="viewerId"):
        parse_avro(avro([record(viewerId="v")], written_by=declared))
    # Nor does it matter of which type a field is that only the product writes.
    declared["fields"] = [*schema("ViewEvent")["fields"], {"name": "agent", "type": "int"}]
    parsed = parse_avro(avro([record(agent=3)], written_by=declared))
    assert (len(parsed.events), parsed.ignored) == (1, ["agent"])
