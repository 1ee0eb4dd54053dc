"""CloudEvents 1.0 in JSON become view events. The SDK of the CloudEvents project says what such a body looks like."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

from schemas.viewers import is_no_viewer
from services.ingest.cloud_events import parse_cloud_event, parse_cloud_events
from services.ingest.events import BodyError, Parsed, Terms
from services.ingest.forms import media_of, parse
from services.ingest.packing import pack
from services.ingest.routes import CLOUD_EVENT, CLOUD_EVENTS, CLOUD_EXAMPLE

NOW_MS = 1_767_225_600_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms("shop")
NAMESPACE = uuid.UUID("a3301fae-44a6-5d6e-800e-0ea24fcb9594")
EVENT = {
    "specversion": "1.0", "type": "t", "source": "/player", "id": "1", "time": "2026-01-01T00:00:00Z",
    "data": {"video_id": "A"},
}  # fmt: skip
WITHOUT = object()


def changed(**attributes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**EVENT, **attributes}.items() if value is not WITHOUT}


def single(**attributes: Any) -> Parsed:
    return parse_cloud_event(json.dumps(changed(**attributes)).encode(), TERMS)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)


@given(
    WORDS.filter(lambda text: not is_no_viewer(text)),
    WORDS,
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 1, 1)),
    st.fixed_dictionaries({"video_id": WORDS}, optional={"kind": st.just("like"), "viewer_id": WORDS, "device": WORDS}),
)
def test_what_the_sdk_writes_is_read(identity: str, source: str, at: datetime, data: dict[str, str]) -> None:
    attributes = {"specversion": "1.0", "type": "t", "id": identity, "source": source, "time": at.replace(tzinfo=UTC)}
    message = to_structured_event(SdkEvent(attributes, data))
    media = media_of({name.lower(): value for name, value in message.headers.items()})
    assert media == CLOUD_EVENT
    parsed = parse(media, message.body, TERMS, unpacked_bytes_max=1 << 20)
    assert parsed.rejected == []
    (event,) = parsed.events
    assert event.event_id == uuid.uuid5(NAMESPACE, f"shop\0{source}\0{identity}")
    since = at - datetime(1970, 1, 1)
    assert event.viewed_at == since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    assert {name: getattr(event, name) for name in data} == data
    assert event.kind == data.get("kind", "view")


def test_a_batch_is_its_events_and_a_bad_one_is_rejected_alone() -> None:
    body = json.dumps([EVENT, changed(id="2", data={"video_id": ""}), changed(id="3", source="/other"), 7]).encode()
    parsed = parse(CLOUD_EVENTS, body, TERMS, unpacked_bytes_max=1 << 20)
    assert list(parsed.indexes) == [0, 2]
    assert [(one.index, one.field, one.value) for one in parsed.rejected] == [(1, "video_id", ""), (3, None, None)]
    assert len({one.event_id for one in parsed.events}) == 2
    packed = pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=4)
    assert (packed.count, packed.rejected, packed.made) == (2, [], [])
    for bad in (b"", b"{}", json.dumps(EVENT).encode(), b"[", b"[" * 100_000):
        with pytest.raises(BodyError):
            parse_cloud_events(bad, TERMS)


def test_an_id_is_one_within_its_source_also_if_it_is_a_uuid() -> None:
    identity = "7f9c24e8-3b12-4fef-91e0-56a2d5a3f0b1"
    ((first,), (other,)) = (single(id=identity, source=source).events for source in ("/a", "/b"))
    assert len({first.event_id, other.event_id, uuid.UUID(identity)}) == 3


def test_the_subject_is_the_video_if_the_data_names_none() -> None:
    for data in ({}, WITHOUT, None):
        (event,) = single(subject="B", data=data).events
        assert event.video_id == "B"
    (event,) = single(subject="B").events
    assert event.video_id == "A"


def test_extensions_are_passed_over_and_unknown_fields_of_data_are_named() -> None:
    parsed = single(traceparent="00-1", partitionkey="x", dataschema="s", data={"video_id": "A", "position": 3})
    assert (parsed.ignored, len(parsed.events)) == (["position"], 1)


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        ({"specversion": "0.3"}, "specversion", "0.3"),
        ({"specversion": WITHOUT}, "specversion", None),
        ({"id": WITHOUT}, "id", None),
        ({"id": ""}, "id", ""),
        ({"id": 7}, "id", "7"),
        ({"id": "null"}, "id", "null"),
        ({"id": "é" * 65}, "id", "é" * 65),
        ({"source": WITHOUT}, "source", None),
        ({"source": "\0"}, "id", "1"),
        ({"type": WITHOUT}, "type", None),
        ({"time": WITHOUT}, "time", None),
        ({"time": "yesterday"}, "time", "yesterday"),
        ({"time": NOW_MS}, "time", str(NOW_MS)),
        ({"data": "text"}, "data", "text"),
        ({"data": [1]}, "data", "[1]"),
        ({"data": {}}, "video_id", None),
        ({"data": {"video_id": 5}}, "video_id", "5"),
        ({"data": {"video_id": "A", "event_id": "x"}}, "event_id", "x"),
        ({"data": {"video_id": "A", "viewed_at": 5}}, "viewed_at", "5"),
        ({"data": {"video_id": "A", "viewerId": "x"}}, "viewerId", "x"),
        ({"data": WITHOUT, "data_base64": "eyJ9"}, "data_base64", None),
    ],
)
def test_a_bad_attribute_is_named_with_its_value_and_what_to_do(
    attributes: dict[str, Any], field: str, value: str | None
) -> None:
    parsed = single(**attributes)
    assert not parsed.events
    (found,) = parsed.rejected
    assert (found.index, found.field, found.value) == (0, field, value)
    assert found.remedy


def test_bytes_that_are_no_text_are_rejected_alone() -> None:
    body = json.dumps([EVENT, EVENT]).encode().replace(b'"A"', b'"\xff"', 1)
    parsed = parse_cloud_events(body, TERMS)
    assert ([one.index for one in parsed.rejected], list(parsed.indexes)) == ([0], [1])


def test_the_example_of_the_description_is_taken() -> None:
    assert len(parse_cloud_event(json.dumps(CLOUD_EXAMPLE).encode(), TERMS).events) == 1
