"""Bodies that kernels read are answered and written as small ones are. No server."""

import json
import threading
import uuid
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ingest.intake import LOOP_BYTES_MAX, LOOP_EVENTS_MAX
from services.ingest.routes import NDJSON
from services.ingest.taking import KERNEL_BYTES_MIN, Reading, Taken
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


@pytest.mark.parametrize("more", [0, 1])
def test_many_events_that_no_kernel_takes_do_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    packers, writers = set(), set()
    pack, write = Reading.pack, FakeWriter.write

    def noting_pack(reading: Reading) -> Taken:
        packers.add(threading.get_ident())
        return pack(reading)

    def noting_write(writer: FakeWriter, packed: Any, **named: Any) -> Any:
        writers.add(threading.get_ident())
        return write(writer, packed, **named)

    monkeypatch.setattr(Reading, "pack", noting_pack)
    monkeypatch.setattr(FakeWriter, "write", noting_write)
    installed(monkeypatch)
    events = [{"video_id": "A", "odd": 1}] * (LOOP_EVENTS_MAX + more)
    assert posted(ingest_client(), events, is_lines=False)["accepted"] == len(events)
    assert (more == 1) is (packers != writers)
