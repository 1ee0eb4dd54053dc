"""Bodies that kernels read are answered and written as small ones are. No server."""

import json
import uuid
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ingest.intake import LOOP_BYTES_MAX
from services.ingest.routes import NDJSON
from services.ingest.taking import KERNEL_BYTES_MIN
from tests.support.ingest_writer import FakeWriter, ingest_client, installed
from tests.support.packed_events import events_of


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    return installed(monkeypatch)


@pytest.fixture
def client(writer: FakeWriter) -> TestClient:
    return ingest_client()


def posted(client: TestClient, events: list[Any], *, is_lines: bool) -> dict[str, Any]:
    body = "\n".join(map(json.dumps, events)) if is_lines else json.dumps({"events": events})
    answer = client.post(
        "/v1/events", content=body, headers={"Content-Type": NDJSON if is_lines else "application/json"}
    )
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("is_lines", [False, True])
@pytest.mark.parametrize("bytes_min", [0, KERNEL_BYTES_MIN, LOOP_BYTES_MAX])
def test_a_body_of_any_size_is_answered_alike(
    client: TestClient, writer: FakeWriter, is_lines: bool, bytes_min: int
) -> None:
    events: list[dict[str, Any]] = [{"video_id": "A"}, {"video_id": ""}, {"video_id": "B", "odd": "\n"}]
    events += [{"video_id": f"v{n}"} for n in range(bytes_min // 20)]
    answer = posted(client, events, is_lines=is_lines)
    assert answer["accepted"] == len(events) - 1
    assert [(one["index"], one["field"]) for one in answer["rejected"]] == [(1, "video_id")]
    assert answer["ignored"] == ["odd"]
    made = {one["index"]: uuid.UUID(one["event_id"]).bytes for one in answer["event_ids"]}
    assert list(made) == [0, *range(2, len(events))]
    (packed,) = writer.written
    assert {index: datum[:16] for _, index, datum in events_of(packed)} == made
    ids = {index: datum[16:].split(b"\x08view")[0] for _, index, datum in events_of(packed)}
    assert ids[2][:2] == b"\x02B"
