"""Bounds of bodies: events, nesting, room in memory, and time. What is beyond them is refused whole."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ingest import app as ingest_app
from services.ingest import intake as ingest_intake
from services.refused import RefusedError
from services.room import Room
from settings import IngestSettings, Settings
from tests.support.ingest_writer import FakeWriter

EVENT = {"video_id": "A"}
DEEP = 100_000


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    made = FakeWriter()
    monkeypatch.setattr(ingest_app, "EventWriter", lambda *_arguments, **_named: made)
    return made


def post(settings: IngestSettings, content: bytes, media: str = "application/json") -> Any:
    client = TestClient(ingest_app.build_service(Settings(ingest=settings)).public, base_url="http://localhost")
    return client.post("/v1/events", content=content, headers={"content-type": media})


def body(*events: Any) -> bytes:
    return json.dumps({"events": events}).encode()


def lines(*events: Any) -> bytes:
    return "\n".join(map(json.dumps, events)).encode()


@pytest.mark.parametrize("form", [body, lines])
def test_a_body_has_so_many_events_and_no_more(form: Any, writer: FakeWriter) -> None:
    settings = IngestSettings(body_events_max=5)
    media = "application/json" if form is body else "application/x-ndjson"
    assert post(settings, form(*[EVENT] * 5), media).status_code == 202
    for content in (form(*[EVENT] * 6), form(*[EVENT] * 12)):
        refused = post(settings, content, media)
        assert (refused.status_code, "more than 5 events" in refused.json()["error"]) == (413, True)
    assert len(writer.written) == 1


def test_millions_of_events_are_refused_before_they_are_read(
    writer: FakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_intake, "read", None)
    settings = IngestSettings(body_events_max=100)
    as_json = "application/json"
    several = [(as_json, b"{}," * 300), (as_json, b"1," * 2000), ("application/x-ndjson", b"\n" * 101)]
    for media, content in several:
        assert post(settings, content, media).status_code == 413


@pytest.mark.parametrize("opened", [b"[", b'{"a":'])
def test_a_deep_body_is_a_wrong_body(opened: bytes, writer: FakeWriter) -> None:
    deep = b'{"video_id":"A","x":' + opened * DEEP
    for content in (b'{"events":[' + deep, opened * DEEP, b'{"events":' + opened * DEEP):
        assert post(IngestSettings(), content).status_code in {400, 413}


def test_room_is_held_while_a_request_has_it() -> None:
    room = Room(100)
    with room.request() as held:
        held.hold(60)
        held.hold(40)
        assert room.used_bytes == 60
        with room.request() as other:
            other.hold(40)
            with pytest.raises(RefusedError) as refused:
                held.hold(61)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        held.hold(100)
    assert room.used_bytes == 0


def test_without_room_a_body_is_refused(writer: FakeWriter) -> None:
    settings = IngestSettings(bodies_bytes_max=1024)
    refused = post(settings, body(EVENT) + b" " * 2000)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert post(settings, body(EVENT)).status_code == 202
