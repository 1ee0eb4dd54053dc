"""Property: what ingest writes by template is byte for byte what fastavro writes, and the job takes all of it."""

import io
import uuid
from datetime import UTC, datetime, timedelta, timezone

import fastavro
import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.kinds import BLOCKED_PREFIX
from schemas.registry import PREFIX_BYTES, newest, schema
from schemas.values import MAX_ID, NIL_ID, TIME_END_MS, TIME_MIN_MS
from schemas.view_records import event_tail
from schemas.viewers import is_no_viewer
from services.ingest import packing
from services.ingest.events import ViewEvent
from tests.support.batch_versions import ADDED
from udfs.logic.wire.batch_scan import Scan, scan

MINUTE = timedelta(minutes=1)


def text(bytes_max: int, *, least: int = 0) -> st.SearchStrategy[str]:
    letters = st.text(st.characters(codec="utf-8"), min_size=least, max_size=bytes_max)
    return letters.filter(lambda value: len(value.encode()) <= bytes_max)


EVENTS = st.builds(
    ViewEvent,
    video_id=text(64, least=1),
    event_id=st.uuids().filter(lambda one: one.bytes not in {NIL_ID, MAX_ID}),
    viewed_at=st.integers(TIME_MIN_MS, TIME_END_MS - 1),
    kind=st.just("view") | text(32, least=1).filter(lambda kind: not kind.startswith(BLOCKED_PREFIX)),
    viewer_id=st.none() | text(64),
    country=st.none() | text(64),
    device=st.none() | text(64),
)


# The first call may compile the scanner.
@given(
    st.lists(EVENTS, max_size=8),
    st.integers(1, 128),
    st.text(max_size=100).filter(str.isascii),
    st.none() | st.integers(0, 1 << 60),
    st.fixed_dictionaries({name: st.none() | text(64) for name in ADDED[2]}),
)
def test_packed_bytes_are_avro(
    events: list[ViewEvent], salts: int, producer_id: str, acknowledged: int | None, added: dict[str, str | None]
) -> None:
    packed = packing.pack(events, range(len(events)), now_ms=0, salts=salts, tail=event_tail(**added))
    assert packed.count == len(events)
    assert not packed.rejected
    for salt, (block, places) in enumerate(zip(packed.blocks, packed.indexes, strict=True)):
        now_ms = TIME_MIN_MS + salt
        value = packing.batch_value(
            [block],
            len(places),
            producer_id=producer_id,
            salt=salt,
            salts=salts,
            now_ms=now_ms,
            acknowledged=acknowledged,
        )
        batch = {
            "batch_id": value[PREFIX_BYTES : PREFIX_BYTES + 16],
            "producer_id": producer_id,
            "salt": salt,
            "salts": salts,
            "produced_at": now_ms,
            "origin": "direct",
            "acknowledged": acknowledged,
            "traceparents": [],
            "events": [as_record(events[place]) | added for place in places],
        }
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema("ViewBatch", newest("ViewBatch")), batch)
        assert value[PREFIX_BYTES:] == out.getvalue()
        seen = scan(np.frombuffer(value, np.uint8), salt, salts)
        assert isinstance(seen, Scan)
        assert len(seen.faults) == len(places)
        assert not seen.faults.any()


@given(EVENTS, text(32 - len(BLOCKED_PREFIX)))
def test_a_kind_that_is_kept_for_blocked_views_is_rejected_alone(good: ViewEvent, rest: str) -> None:
    reserved = msgspec.structs.replace(good, kind=BLOCKED_PREFIX + rest)
    packed = packing.pack([reserved, good], [0, 1], now_ms=0, salts=16)
    assert packed.count == 1
    assert [(one.index, one.field) for one in packed.rejected] == [(0, "kind")]


def as_record(event: ViewEvent) -> dict[str, object]:
    assert isinstance(event.event_id, uuid.UUID)
    viewer = None if event.viewer_id is None or is_no_viewer(event.viewer_id) else event.viewer_id
    fields = {name: getattr(event, name) for name in ViewEvent.__struct_fields__}
    return fields | {"event_id": event.event_id.bytes, "viewer_id": viewer}


@given(st.datetimes(datetime(2000, 1, 3), datetime(2099, 12, 29), timezones=st.timezones()))
def test_a_time_becomes_its_milliseconds_whatever_its_zone(viewed_at: datetime) -> None:
    # Offsets of seconds, as zones had long ago, are no RFC 3339.
    offset = viewed_at.utcoffset()
    assert offset is not None
    given_text = viewed_at.astimezone(timezone(offset // MINUTE * MINUTE)).isoformat()
    packed = packing.pack([ViewEvent(video_id="A", viewed_at=given_text)], [0], now_ms=0, salts=1)
    since = viewed_at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert packed.made[0].viewed_at == since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
