"""A publishable key may name so many videos in a day, and those that it has named stay open to it."""

import json
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.access.caller import Caller
from services.ingest import app as ingest_app
from services.ingest.events import Parsed, ViewEvent
from services.ingest.novelty import REMEDY, Novelty
from settings import AccessSettings, LimitSettings, Settings
from settings.durations import DAY_MS
from tests.support.ingest_writer import FakeWriter

PAGE = Caller("acme", "k1", "pubwrite", is_publishable=True)


def parsed(*names: str) -> Parsed:
    """Events of these videos, each `VIDEO` or `VIDEO/KIND`, at every second place of a body."""
    split = [(*name.split("/"), "view")[:2] for name in names]
    events = [ViewEvent(video_id=video, kind=kind) for video, kind in split]
    return Parsed(events, [2 * place for place in range(len(events))])


def taken(novelty: Novelty, *names: str, caller: Caller = PAGE, now_ms: int = 0) -> list[str]:
    return [event.video_id for event in novelty.only_known(caller, parsed(*names), now_ms).events]


def test_new_names_are_rejected_beyond_the_limit_and_known_ones_are_not() -> None:
    novelty = Novelty(3)
    assert taken(novelty, "A", "B", "A/like", "A") == ["A", "B", "A", "A"]
    found = novelty.only_known(PAGE, parsed("C", "A", "B/like", "B"), DAY_MS - 1)
    assert ([event.video_id for event in found.events], found.indexes) == (["A", "B"], [2, 6])
    assert [(one.index, one.field, one.value, one.remedy) for one in found.rejected] == [
        (0, "video_id", "C", REMEDY),
        (4, "video_id", "B", REMEDY),
    ]
    assert "k1 has named 3 videos" in found.rejected[0].reason


def test_each_key_and_each_day_begins_anew() -> None:
    novelty = Novelty(1)
    other = Caller("acme", "k2", "pubwrite", is_publishable=True)
    assert taken(novelty, "A", "B") == ["A"]
    assert taken(novelty, "B", caller=other) == ["B"]
    assert taken(novelty, "B", "A", now_ms=DAY_MS) == ["B"]
    # The clock went back over midnight.
    assert taken(novelty, "A", now_ms=DAY_MS - 1) == []


@pytest.mark.parametrize(
    ("names_max", "caller"), [(0, PAGE), (1, Caller("acme", "k1", "write")), (1, Caller("default"))]
)
def test_others_are_not_bounded(names_max: int, caller: Caller) -> None:
    assert taken(Novelty(names_max), "A", "B", "C", caller=caller) == ["A", "B", "C"]


async def _stop(_self: FakeWriter) -> None:
    return


def test_a_large_body_of_a_page_is_bounded_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No kernel reads it, though the key may name all."""
    monkeypatch.setattr(ingest_app, "EventWriter", FakeWriter)
    monkeypatch.setattr(FakeWriter, "start", lambda _self: None, raising=False)
    monkeypatch.setattr(FakeWriter, "stop", _stop, raising=False)
    file = tmp_path / "keys.json"
    key, text = new_key("pubwrite", "acme")
    public = msgspec.structs.replace(key, kinds=("*",), origins=("*",), video_id_prefix="*")
    change_keys(file, lambda keys: (*keys, public))
    settings = Settings(
        access=AccessSettings(mode="keys", keys_file=str(file)), limits=LimitSettings(names_per_day_max=20)
    )
    headers = {"authorization": f"Bearer {text}", "content-type": "application/json"}
    content = json.dumps({"events": [{"video_id": f"video-{number}"} for number in range(100)]})
    with TestClient(ingest_app.build_service(settings).public, base_url="http://localhost") as client:
        answer = client.post("/v1/events", content=content, headers=headers).json()
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (20, list(range(20, 100)))
