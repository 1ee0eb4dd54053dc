"""A viewer_id that names no viewer is left out at ingest, in every form of a body, and the answer says so once."""

import io
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest

from schemas import registry
from services.ingest.routes import AVRO, CLOUD_EVENTS, NDJSON
from services.ingest.taking import KERNEL_BYTES_MIN
from services.openapi import JSON
from tests.support.ingest_writer import ingest_client, installed
from tests.support.packed_events import events_of

NAMES = ["undefined", "ann", "Null", "[object Object]", ""]
# Enough events for the kernels to read the body.
REPEATS = 40
NOW_MS = time.time_ns() // 1_000_000


def rfc_3339(at_ms: int) -> str:
    """A time as CloudEvents have it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def avro(events: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    made = [one | {"event_id": uuid.uuid4().bytes} for one in events]
    fastavro.writer(out, registry.schema("ViewEvent", 1), made)
    return out.getvalue()


def cloud(events: list[dict[str, Any]]) -> bytes:
    return json.dumps(
        [
            {"specversion": "1.0", "type": "t", "source": "s", "id": str(number), "time": rfc_3339(one["viewed_at"])}
            | {"data": {name: value for name, value in one.items() if name != "viewed_at"}}
            for number, one in enumerate(events)
        ]
    ).encode()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    JSON: lambda events: json.dumps({"events": events}).encode(),
    NDJSON: lambda events: b"".join(json.dumps(one).encode() + b"\n" for one in events),
    AVRO: avro,
    CLOUD_EVENTS: cloud,
}


def viewers(packed: Any) -> list[str | None]:
    """The viewers of what was written, in the order of the body."""
    found: dict[int, Any] = {}
    for _, index, datum in events_of(packed):
        found[index] = fastavro.schemaless_reader(io.BytesIO(datum), registry.numeric_schema("ViewEvent", 2), None)
    return [found[index]["viewer_id"] for index in sorted(found)]


@pytest.mark.parametrize("repeats", [1, REPEATS])
@pytest.mark.parametrize("media", FORMS)
def test_the_view_counts_and_has_no_viewer(monkeypatch: pytest.MonkeyPatch, media: str, repeats: int) -> None:
    writer, client = installed(monkeypatch), ingest_client()
    events = [{"video_id": "A", "viewed_at": NOW_MS, "viewer_id": name, "kind": "view"} for name in NAMES * repeats]
    body = FORMS[media](events)
    assert (len(body) >= KERNEL_BYTES_MIN) or repeats == 1
    answer = client.post("/v1/events", content=body, headers={"content-type": media}).json()
    assert (answer["accepted"], answer["rejected"], answer["ignored"]) == (len(events), [], ["viewer_id"])
    assert viewers(writer.written[0]) == [None, "ann", None, None, None] * repeats
    recent = client.get("/v1/recent").json()["events"][-len(NAMES) :]
    hidden = [[one["name"] for one in event.get("hidden", [])] for event in reversed(recent)]
    assert hidden == [[], ["viewer_id"], [], [], []]


def test_nothing_is_said_where_viewers_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    answer = ingest_client().post("/v1/events", json={"events": [{"video_id": "A", "viewer_id": "undefined "}]}).json()
    assert "ignored" not in answer


def test_an_unknown_field_is_named_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    events = [{"video_id": "A", "viewer_id": "NaN", "position": 1, "zoom": 2}]
    answer = ingest_client().post("/v1/events", json={"events": events}).json()
    assert answer["ignored"] == ["position", "viewer_id", "zoom"]


def test_a_video_may_have_any_name_and_an_event_needs_an_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = installed(monkeypatch)
    events = [
        {"video_id": "undefined"},
        {"video_id": "A", "event_id": "undefined", "viewed_at": NOW_MS},
    ]
    answer = ingest_client().post("/v1/events", json={"events": events}).json()
    assert answer["accepted"] == 1
    (refused,) = answer["rejected"]
    assert (refused["index"], refused["field"], refused["value"]) == (1, "event_id", "undefined")
    ((_, _, datum),) = events_of(writer.written[0])
    assert b"undefined" in datum
