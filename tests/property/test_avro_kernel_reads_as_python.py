"""Property: what the kernel makes of an Avro container is what fastavro and the packing in Python make of it."""

import io
import uuid
from typing import Any

import fastavro
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.registry import schema
from schemas.values import MAX_ID, NIL_ID, TIME_END_MS, TIME_MIN_MS
from schemas.viewers import NO_VIEWERS
from services.ingest.container import read_own_blocks
from services.ingest.packing import Reach
from services.ingest.routes import AVRO
from tests.support.both_ways import ALWAYS, NEVER, NOW_MS, SALTS, same, taken
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS
from udfs.logic.wire.event_bodies import Bounds, read_avro


def text(bytes_max: int, *, least: int = 0) -> st.SearchStrategy[str]:
    letters = st.text(st.characters(codec="utf-8"), min_size=least, max_size=bytes_max)
    return letters.filter(lambda one: len(one.encode()) <= bytes_max)


# Viewers who are none, and some who are called nearly so.
NOBODY = st.sampled_from([*NO_VIEWERS, "", "UNDEFINED", "NaN", "[object Object]", "undefined ", "nul", "nulls"])
COMMON = st.fixed_dictionaries(
    {
        "event_id": st.uuids().map(lambda one: one.bytes).filter(lambda one: one not in {NIL_ID, MAX_ID}),
        "video_id": text(64, least=1),
        "viewed_at": st.integers(TIME_MIN_MS, TIME_END_MS - 1),
    },
    optional={
        "kind": text(32, least=1).filter(lambda one: ":" not in one),
        "viewer_id": text(64) | st.none() | NOBODY,
        "country": text(64) | st.none(),
        "device": text(64) | st.none(),
        "agent": text(300) | st.none(),
        "project": text(64) | st.none(),
    },
)
ODD = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.sampled_from([NIL_ID, MAX_ID, NIL_ID[:8] + MAX_ID[:8]]),
        "video_id": st.sampled_from(["", "x" * 65, "é" * 33]),
        "viewed_at": st.sampled_from([0, -1, TIME_MIN_MS - 1, TIME_END_MS, 1 << 50]),
        "kind": st.sampled_from(["", "blocked:a", "a:b", "é" * 17]),
        "viewer_id": st.sampled_from(["x" * 65]),
        "device": st.sampled_from(["x" * 64, "x" * 65]),
    },
)
EVENTS = st.lists(COMMON, max_size=5) | st.lists(st.builds(lambda a, b: a | b, COMMON, ODD), max_size=3)


def container(events: list[dict[str, Any]], version: int, codec: str, interval: int) -> bytes:
    """As fastavro writes it, with a new block after so many bytes."""
    out = io.BytesIO()
    fastavro.writer(out, schema("ViewEvent", version), events, codec=codec, sync_interval=interval)
    return out.getvalue()


CONTAINERS = st.builds(
    container, EVENTS, st.sampled_from([1, 2]), st.sampled_from(["null", "deflate"]), st.sampled_from([1, 16_000])
)


@given(CONTAINERS, st.none() | st.builds(Reach, st.integers(0, 1 << 40), st.integers(0, 1 << 40)))
def test_a_container_is_the_same_with_and_without_the_kernel(body: bytes, reach: Reach | None) -> None:
    same(AVRO, body, reach)


@given(st.lists(COMMON, min_size=1, max_size=5), st.sampled_from([1, 2]), st.sampled_from(["null", "deflate"]))
def test_the_kernel_takes_every_container_of_common_events(
    events: list[dict[str, Any]], version: int, codec: str
) -> None:
    own = read_own_blocks(container(events, version, codec, 1), unpacked_bytes_max=1 << 20)
    assert own is not None
    assert (own.version, sum(own.counts)) == (version, len(events))
    bounds = Bounds(NOW_MS, TIME_MIN_MS, TIME_END_MS)
    rows = read_avro(own.blocks, own.counts, OPTIONAL_TEXTS[version], bounds, SALTS)
    assert rows is not None
    assert rows.taken == len(events)


CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["put", "cut", "change", "end"]), st.integers(0, 255)),
    min_size=1,
    max_size=2,
)


@given(CONTAINERS, CHANGES, st.booleans())
def test_a_container_with_wrong_bytes_is_the_same_too(
    body: bytes, changes: list[tuple[float, str, int]], is_anywhere: bool
) -> None:
    # The records lie behind the header, which is longer than they are.
    first = 0 if is_anywhere else body.index(b"\0" + body[-16:]) + 17
    changed = bytearray(body)
    for place, what, octet in changes:
        at = first + int(place * (len(changed) - first))
        if what == "end":
            del changed[at:]
        else:
            changed[at : at + (what != "put")] = b"" if what == "cut" else bytes([octet])
    same(AVRO, bytes(changed))


def of_records(records: bytes, count: int, version: int = 1) -> bytes:
    """A container of one block with these bytes."""
    header = container([], version, "null", 1)
    return header + b"".join((_zigzag(count), _zigzag(len(records)), records, header[-16:]))


def _zigzag(value: int) -> bytes:
    return bytes([value << 1 & 127 | 128, value >> 6])


HEAD = uuid.UUID(int=5).bytes + b"\x02A" + b"\x80\xa0\xd5\xed\xee\x66"


@given(st.binary(max_size=64), st.integers(0, 4))
@example(HEAD + b"\x08view\0\0\0", 1)
@example(HEAD + b"\x08view\0\0\0", 2)
@example(HEAD + b"\x88\x00view\0\0\0", 1)
@example(HEAD + b"\x08view\0\0\x80\x00", 1)
@example(HEAD[:-1] + b"\xe6\x00\x08view\0\0\0", 1)
@example(HEAD + b"\x08view\0\0\x02\x02\xff", 1)
@example(HEAD + b"\x08view\0\0\x04", 1)
@example(HEAD + b"\x08view\0\0\x01", 1)
def test_any_records_are_the_same(records: bytes, count: int) -> None:
    same(AVRO, of_records(records, count))


@given(st.binary(max_size=24))
@example(b"\0\0\0")
@example(b"\x02\x02\xff\0\0")
@example(b"\0\x80\x00\0")
@example(b"\0\x04\0")
@example(b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0")
def test_any_bytes_behind_the_fields_of_version_1_are_the_same(rest: bytes) -> None:
    same(AVRO, of_records(HEAD + b"\x08view\0\0\0" + rest, 1, version=2))


def test_a_container_of_another_schema_is_left_to_python() -> None:
    own = schema("ViewEvent", 1)
    other = {**own, "fields": own["fields"] + [{"name": "note", "type": "string"}]}
    micros = [
        {**field, "type": {"type": "long", "logicalType": "timestamp-micros"}}
        if field["name"] == "viewed_at"
        else field
        for field in own["fields"]
    ]
    event = {"event_id": uuid.UUID(int=5).bytes, "video_id": "A", "kind": "view", "note": "x"}
    for declared, at in ((other, NOW_MS), ({**own, "fields": micros}, NOW_MS * 1000)):
        out = io.BytesIO()
        fastavro.writer(out, declared, [{**event, "viewed_at": at}])
        assert read_own_blocks(out.getvalue(), unpacked_bytes_max=1 << 20) is None
        assert len(same(AVRO, out.getvalue())[0]) == 1


def test_what_unpacks_to_too_much_is_refused_by_python() -> None:
    event = {"event_id": uuid.UUID(int=5).bytes, "video_id": "A", "viewed_at": NOW_MS}
    body = container([event] * 40_000, 1, "deflate", 1 << 30)
    assert read_own_blocks(body, unpacked_bytes_max=1 << 20) is None
    assert isinstance(taken(AVRO, body, ALWAYS), tuple) == isinstance(taken(AVRO, body, NEVER), tuple)
