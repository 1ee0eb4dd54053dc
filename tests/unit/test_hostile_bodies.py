"""Bodies that are all bad cost little: they are refused as a whole, with a short answer. No server."""

import json
import tracemalloc
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ingest import app as ingest_app
from services.ingest.events import BodyError, Terms, parse_json, parse_ndjson
from services.ingest.rejections import REJECTIONS_MAX
from services.ingest.routes import CLOUD_EVENTS, NDJSON
from services.openapi import JSON
from settings import IngestSettings, Settings
from tests.support.ingest_writer import FakeWriter, ingest_client

MIB = 1 << 20
VIEWED_AT = 1_600_000_000_000


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(ingest_app, "EventWriter", FakeWriter)
    # So that no body is refused for its number of events before they are looked at.
    settings = Settings(ingest=IngestSettings(body_events_max=100_000))
    return ingest_client(settings)


def listed(value: bytes, number: int) -> bytes:
    return b",".join([value] * number)


HOSTILE: list[tuple[str, bytes]] = [
    (NDJSON, b"1\n" * (MIB // 2)),
    (NDJSON, b"{}\n" * (MIB // 4)),
    (NDJSON, b'{"video_id":""}\n' * (MIB // 16)),
    (JSON, b'{"events":[%b]}' % listed(b"1", MIB // 2)),
    (JSON, b'{"events":[%b],"sent_at":1}' % listed(b"{}", MIB // 4)),
    (JSON, b'{"events":[%b]}' % listed(b'{"video_id":1}', MIB // 16)),
    (JSON, b'{"events":[%b]}' % listed(b'{"video_id":"A","viewed_at":1600000000000}', MIB // 44)),
    (CLOUD_EVENTS, b"[%b]" % listed(b"1", MIB // 2)),
    (CLOUD_EVENTS, b"[%b]" % listed(b'{"id":"1"}', MIB // 16)),
]


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize(("media", "body"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_body_that_is_all_bad_is_refused_with_a_short_answer(
    client: TestClient, media: str, body: bytes, key: dict[str, str]
) -> None:
    answer = client.post("/v1/events", content=body, headers={"content-type": media, **key})
    assert answer.status_code in (400, 413)
    assert len(answer.json()["rejected"]) <= REJECTIONS_MAX
    assert len(answer.content) < MIB // 2
    assert any(text in answer.json()["error"] for text in ("nothing was taken", "can be no events", "send it in parts"))


@pytest.mark.parametrize(("media", "body"), HOSTILE[:6], ids=range(6))
def test_a_body_that_is_all_bad_needs_little_memory(media: str, body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BodyError):
            (parse_ndjson if media == NDJSON else parse_json)(body, Terms("shop"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(body)


def test_as_many_bad_events_as_an_answer_names_are_named_and_the_others_taken(client: TestClient) -> None:
    events: list[dict[str, Any]] = [{"video_id": ""}] * REJECTIONS_MAX + [{"video_id": "A"}]
    answer = client.post("/v1/events", json={"events": events}).json()
    assert (answer["accepted"], len(answer["rejected"])) == (1, REJECTIONS_MAX)
    old = [{"video_id": "A", "viewed_at": VIEWED_AT}] * (REJECTIONS_MAX + 1)
    answer = client.post("/v1/events", json={"events": [*old, {"video_id": "A"}]})
    assert (answer.status_code, answer.json()["accepted"]) == (400, 0)
    assert len(answer.json()["rejected"]) == REJECTIONS_MAX
    assert "viewed_at" in answer.json()["error"]


def test_an_event_with_many_small_values_is_taken() -> None:
    events = [{"video_id": "A", "tags": list(range(5000))}] * 2
    parsed = parse_json(json.dumps({"events": events}, separators=(",", ":")).encode(), Terms("shop"))
    assert (len(parsed.events), parsed.ignored) == (2, ["tags"])
