"""A key may be held to so many videos a day, and those that it has named stay open to it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import Scope, new_key
from services.access.caller import Caller
from services.ingest import app as ingest_app
from services.ingest.events import Parsed, ViewEvent
from services.ingest.novelty import REMEDY, Novelty
from services.ingest.taking import Packing, read
from services.openapi import JSON
from settings import AccessSettings, LimitSettings, Settings
from settings.durations import DAY_MS
from tests.support.both_ways import NOW_MS, TERMS
from tests.support.ingest_writer import StartedWriter

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
    assert found.rejected[1].reason == (
        "the key k1 has named 3 videos by kind today, and this one is new with the kind like"
    )


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


@pytest.mark.parametrize("is_publishable", [True, False])
@pytest.mark.parametrize("of_settings", [0, 1, 3])
def test_a_key_has_its_own_limit_whatever_the_settings_say(of_settings: int, is_publishable: bool) -> None:
    own = Caller("acme", "k1", "write", is_publishable=is_publishable, names_per_day_max=2)
    novelty = Novelty(of_settings)
    assert taken(novelty, "A", "B", "C", "A", caller=own) == ["A", "B", "A"]
    assert "has named 2 videos" in novelty.only_known(own, parsed("C"), 0).rejected[0].reason


@pytest.mark.parametrize(
    ("caller", "by_kernel"),
    [
        (Caller("acme", "k1", "write"), 100),
        (Caller("default"), 100),
        (Caller("acme", "k1", "write", names_per_day_max=2), 0),
        (PAGE, 0),
    ],
)
def test_only_bodies_of_keys_with_a_limit_are_read_without_kernels(caller: Caller, by_kernel: int) -> None:
    content = json.dumps({"events": [{"video_id": f"video-{number}"} for number in range(100)]}).encode()
    reading = read(JSON, content, TERMS, Packing(NOW_MS, 1), caller, unpacked_bytes_max=1 << 20)
    assert (0 if reading.rows is None else reading.rows.taken) == by_kernel
    assert reading.readable == 100


@pytest.mark.parametrize(
    ("scope", "own"),
    [("pubwrite", {"kinds": ("*",), "origins": ("*",), "video_id_prefix": "*"}), ("write", {"names_per_day_max": 20})],
)
def test_a_large_body_is_bounded_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scope: Scope, own: dict[str, Any]
) -> None:
    """No kernel reads it, though the key may name all."""
    monkeypatch.setattr(ingest_app, "EventWriter", StartedWriter)
    file = tmp_path / "keys.json"
    key, text = new_key(scope, "acme")
    change_keys(file, lambda keys: (*keys, msgspec.structs.replace(key, **own)))
    # A secret key is not bounded by the setting.
    settings = Settings(
        access=AccessSettings(mode="keys", keys_file=str(file)),
        limits=LimitSettings(names_per_day_max=20 if scope == "pubwrite" else 10),
    )
    headers = {"authorization": f"Bearer {text}", "content-type": "application/json"}
    content = json.dumps({"events": [{"video_id": f"video-{number}"} for number in range(100)]})
    with TestClient(ingest_app.build_service(settings).public, base_url="http://localhost") as client:
        answer = client.post("/v1/events", content=content, headers=headers).json()
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (20, list(range(20, 100)))
    first = answer["rejected"][0]
    assert (first["field"], first["value"], first["remedy"]) == ("video_id", "video-20", REMEDY)
    assert "has named 20 videos by kind today" in first["reason"]
