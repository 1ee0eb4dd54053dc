"""The marks that ingest writes beside events: the class of the program that has viewed. No server."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from schemas.registry import decode
from services.ingest import app as ingest_app
from services.ingest import packing
from services.ingest.taking import KERNEL_BYTES_MIN
from settings import AccessSettings, Settings
from tests.support.ingest_writer import FakeWriter
from tests.support.keys import load_keys
from tests.unit.test_agents import CHROME, GOOGLEBOT

AT = "https://www.example.com"
JSON, LINES, CLOUD = "application/json", "application/x-ndjson", "application/cloudevents+json"


class Door:
    """Ingest with a key of each kind. `marks` are those of what was written last, by video."""

    def __init__(self, settings: Settings, writer: FakeWriter, keys: dict[str, str]) -> None:
        service = ingest_app.build_service(settings)
        load_keys(service)
        self.client = TestClient(service.public, base_url="http://localhost")
        self._writer = writer
        self._keys = keys

    def send(self, body: bytes, scope: str = "write", media: str = JSON, **headers: str) -> dict[str, Any]:
        sent = {"Authorization": f"Bearer {self._keys[scope]}", "Content-Type": media, "Origin": AT, **headers}
        answer = self.client.post("/v1/events", content=body, headers=sent)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @property
    def written(self) -> dict[str, dict[str, Any]]:
        packed = self._writer.written[-1]
        found = {}
        for block, ends, places in zip(packed.blocks, packed.ends, packed.indexes, strict=True):
            assert [len(block)] == ends[-1:] or not places
            value = packing.batch_value([block], len(places), producer_id="p", salt=0, salts=1, now_ms=0)
            for event, place in zip(decode(value)[1]["events"], places, strict=True):
                found[event["video_id"]] = event | {"index": place}
        return found

    @property
    def agents(self) -> dict[str, str | None]:
        return {video: event["agent"] for video, event in self.written.items()}


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Door]:
    writer = FakeWriter()
    monkeypatch.setattr(ingest_app, "EventWriter", lambda *_arguments, **_named: writer)
    path = tmp_path / "keys.json"
    secret, secret_text = new_key("write", "acme")
    public, public_text = new_key("pubwrite", "acme")
    public = msgspec.structs.replace(public, kinds=("*",), origins=("*",), video_id_prefix="*")
    change_keys(path, lambda _none: (secret, public))
    keys = {"write": secret_text, "pubwrite": public_text}

    def make(**settings: Any) -> Door:
        access = AccessSettings(mode="keys", keys_file=str(path), **settings.pop("access", {}))
        return Door(Settings(access=access, **settings), writer, keys)

    return make


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": events}).encode()


def test_the_header_counts_for_publishable_keys_alone(door: Callable[..., Door]) -> None:
    ingest = door()
    for scope, header, agent in (
        ("pubwrite", CHROME, "browser"),
        ("pubwrite", GOOGLEBOT, "bot"),
        ("pubwrite", "", "unknown"),
        ("write", GOOGLEBOT, None),
    ):
        ingest.send(body({"video_id": "A"}), scope, **{"User-Agent": header})
        assert ingest.agents == {"A": agent}
        assert ingest.written["A"]["project"] == "acme"


@pytest.mark.parametrize("scope", ["write", "pubwrite"])
def test_an_event_s_own_user_agent_comes_first(door: Callable[..., Door], scope: str) -> None:
    ingest = door()
    of_header = "browser" if scope == "pubwrite" else None
    events: list[dict[str, Any]] = [
        {"video_id": "A", "user_agent": GOOGLEBOT},
        {"video_id": "B"},
        {"video_id": "C", "user_agent": ""},
        {"video_id": "D", "user_agent": None},
    ]
    expected = {"A": "bot", "B": of_header, "C": "unknown", "D": of_header}
    lines = "\n".join(json.dumps(event) for event in events).encode()
    for media, content in ((JSON, body(*events)), (LINES, lines)):
        answer = ingest.send(content, scope, media, **{"User-Agent": CHROME})
        assert ingest.agents == expected
        assert "ignored" not in answer
        assert [made["index"] for made in answer["event_ids"]] == [0, 1, 2, 3]


def test_events_with_and_without_a_user_agent_come_together_in_a_body_for_kernels(door: Callable[..., Door]) -> None:
    ingest = door()
    events: list[dict[str, Any]] = [{"video_id": f"v{number}"} for number in range(200)]
    for number in range(0, 200, 7):
        events[number]["user_agent"] = GOOGLEBOT
    # What the kernel leaves for another reason.
    events[1]["odd"] = 1
    events[2]["video_id"] = "\u00fc\n"
    events[3]["video_id"] = ""
    content = body(*events)
    assert len(content) > KERNEL_BYTES_MIN
    answer = ingest.send(content, "pubwrite", **{"User-Agent": CHROME})
    assert (answer["accepted"], answer["ignored"]) == (199, ["odd"])
    assert [one["index"] for one in answer["rejected"]] == [3]
    places = [one["index"] for one in answer["event_ids"]]
    assert places == sorted(set(range(200)) - {3})
    expected = {event["video_id"]: "bot" if number % 7 == 0 else "browser" for number, event in enumerate(events)}
    del expected[""]
    assert ingest.agents == expected
    indexes = {event["video_id"]: number for number, event in enumerate(events)}
    assert all(event["index"] == indexes[video] for video, event in ingest.written.items())
    by_id = {made["event_id"]: made["index"] for made in answer["event_ids"]}
    assert all(by_id[str(UUID(bytes=event["event_id"]))] == event["index"] for event in ingest.written.values())


def test_a_cloud_event_has_it_in_its_data(door: Callable[..., Door]) -> None:
    ingest = door()
    cloud = {"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "time": datetime.now(UTC).isoformat()}
    content = json.dumps(cloud | {"data": {"video_id": "A", "user_agent": "curl/8.10.1"}}).encode()
    ingest.send(content, media=CLOUD)
    assert ingest.agents == {"A": "bot"}


def test_the_text_itself_is_never_written(door: Callable[..., Door]) -> None:
    ingest = door()
    ingest.send(body({"video_id": "A", "user_agent": "Mozilla/5.0 (secret-of-a-viewer)"}), "pubwrite")
    assert all(b"secret" not in block for block in ingest._writer.written[-1].blocks)
