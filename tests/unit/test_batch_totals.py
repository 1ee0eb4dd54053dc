"""Totals of many videos: the same numbers as one by one, by few statements; errors name the place. No server."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.query import app as query_app
from services.query.api.parameters.batch import NUMBERS_MAX, VIDEOS_MAX
from services.query.counts.batch import PARTITIONS_MAX
from settings import AccessSettings, Settings
from tests.support.full_tables import HOUR, NOW, empty_history, full, has_imported
from tests.support.keys import load_keys
from tests.support.tables import Tables

MINUTE = timedelta(minutes=1)
PATH = "/v1/videos:batchGet"
KINDS = ["view", "like", "blocked:view"]
VIDEOS = ["A", "B", "C", "nobody"]


def at(ago: timedelta) -> int:
    return int((NOW - ago).timestamp()) // 60


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = full(empty_history(tmp_path))
    cells = {
        (video, kind, at(ago)): place * 100 + number + 1
        for place, video in enumerate("ABC")
        for number, kind in enumerate(KINDS)
        for ago in (MINUTE, 40 * MINUTE, 2 * HOUR, 30 * HOUR)
    }
    made._stream, made._rolled = cells, cells
    has_imported(made, {("A", "view", None): 1000, ("B", "like", None): 5})
    return made


@pytest.fixture
def client(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    return TestClient(query_app.build_service(Settings(), lambda: NOW).public, base_url="http://localhost")


def asked(client: TestClient, **body: Any) -> Any:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def one_by_one(client: TestClient, video: str, kind: str) -> dict[str, Any]:
    found = client.get(f"/v1/videos/{video}/views", params={"kind": kind}).json()
    return {name: found[name] for name in ("kind", "views", "imported", "blocked", "late_added")}


def test_many_at_once_are_what_they_are_one_by_one(client: TestClient) -> None:
    found = asked(client, video_ids=VIDEOS, kind=KINDS, sum=True)
    want: list[Any] = [
        {"video_id": video, "kinds": [one_by_one(client, video, kind) for kind in KINDS]} for video in VIDEOS
    ]
    assert found["videos"] == want
    assert found["videos"][0]["kinds"][0] == {
        "kind": "view",
        "views": 1004,
        "imported": 1000,
        "blocked": 12,
        "late_added": 0,
    }
    assert found["sum"] == [
        {"kind": kind, **{name: sum(video["kinds"][place][name] for video in want) for name in names}}
        for place, kind in enumerate(KINDS)
        for names in [("views", "imported", "blocked", "late_added")]
    ]
    single = client.get("/v1/videos/A/views").json()
    shared = {"complete_through", "arrivals_through", "waiting", "late_through", "history_revision", "missing"}
    assert {name: found[name] for name in shared} == {name: single[name] for name in shared}


def test_views_are_asked_for_by_default_and_no_sum(client: TestClient) -> None:
    found = asked(client, video_ids=["B"])
    assert [one["kind"] for one in found["videos"][0]["kinds"]] == ["view"]
    assert found["sum"] is None


def test_a_rollup_that_writes_in_between_makes_nothing_count_twice_or_never(tables: Tables) -> None:
    """The row of one video is further than the register said; the others are not."""
    through = tables.known.through
    assert through is not None
    further = through.replace(tzinfo=None) + HOUR

    def bases(videos: list[str], kinds: list[str]) -> Iterator[Any]:
        yield SimpleNamespace(video_id="A", kind="view", views=700, late_added=0, complete_through=further)
        yield SimpleNamespace(video_id="B", kind="view", views=800, late_added=0, complete_through=further - 5 * HOUR)
        assert (videos, kinds) == (["A", "B", "C"], ["view"])

    tables._of_bases = bases  # type: ignore[method-assign]
    tables._stream = {(video, "view", at(ago)): 1 for video in "ABC" for ago in (MINUTE, 40 * MINUTE, 80 * MINUTE)}
    found = asyncio.run(tables.totals_of_many(["A", "B", "C"], ("view",), tables.all_known, now=NOW))
    # History ends at 14:00 and the row of A at 15:00; minutes are of 14:10, 14:50 and 15:29.
    assert [one.views for one in found] == [(701,), (803,), (3,)]


def test_a_hundred_videos_are_read_by_few_statements_of_few_partitions(tables: Tables) -> None:
    names = [f"v{number}" for number in range(100)]
    asyncio.run(tables.totals_of_many(names, ("view", "blocked:view"), tables.all_known, now=NOW))
    # Of 64 videos, and of the others.
    assert Counter(tables.asked) == {"bases": 2, "imported": 2, "recent_minutes": 2}
    tables.asked.clear()
    # Before the first rollup, all days whose minutes are kept are read, so that fewer videos fit.
    register = tables._register
    assert register is not None
    assert register.applied is not None
    young = msgspec.structs.replace(register.applied, through_hour=0)
    made_ms = int(NOW.timestamp() * 1000)
    tables._register = msgspec.structs.replace(register, applied=young, made_ms=made_ms)
    asyncio.run(tables.totals_of_many(names, ("view", "blocked:view"), tables.all_known, now=NOW))
    # Of 64 and 36 videos, and of either kind apart, 22 at a time.
    assert tables.asked.count("minute_sums") == 2 * (3 + 2)
    assert 22 * 9 <= PARTITIONS_MAX < 23 * 9


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({}, "body", "missing required field `video_ids`"),
        ({"video_ids": []}, "video_ids", "1 to 500"),
        ({"video_ids": [f"v{number}" for number in range(VIDEOS_MAX + 1)]}, "video_ids", "has 501"),
        ({"video_ids": ["A", ""]}, "video_ids[1]", "1 to 64 bytes"),
        ({"video_ids": ["A", 5]}, "video_ids[1]", "Expected `str`"),
        ({"video_ids": ["A", "B", "A"]}, "video_ids[2]", "is video_ids[0] again"),
        ({"video_ids": ["A"], "kind": ["view", "x" * 99]}, "kind[1]", "bytes"),
        ({"video_ids": ["A"], "kind": []}, "kind", "at least one name"),
        ({"video_ids": ["A"], "kind": ["view", "view"]}, "kind[1]", "given before"),
        ({"video_ids": ["A"], "kind": ["view", "*"]}, "kind[1]", "give it alone"),
        ({"video_ids": ["A"], "kind": ""}, "kind", "bytes"),
        ({"video_ids": ["A"], "sum": "yes"}, "sum", "Expected `bool`"),
        ({"video_ids": ["A"], "kinds": ["view"]}, "body", "unknown field `kinds`"),
        (
            {"video_ids": [f"v{n}" for n in range(VIDEOS_MAX)], "kind": [f"k{n}" for n in range(5)]},
            "video_ids",
            f"2500 numbers, more than {NUMBERS_MAX}",
        ),
        (["A"], "body", "Expected `object`"),
    ],
)
def test_what_is_wrong_is_named_by_field_and_place(client: TestClient, body: Any, field: str, reason: str) -> None:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert reason in error["reason"]


def test_a_body_that_is_none_is_refused(client: TestClient) -> None:
    json_type = {"Content-Type": "application/json"}
    for content, headers, status in (
        (b"{", json_type, 400),
        (b'{"video_ids": ["\xff"]}', json_type, 400),
        (b'{"video_ids": ["A"]}', {"Content-Type": "text/csv"}, 415),
        (b'{"video_ids": ["A"]}', {}, 415),
        (b" " * (1 << 20), json_type, 413),
    ):
        answer = client.post(PATH, content=content, headers=headers)
        assert answer.status_code == status, answer.text
    assert client.get(PATH).status_code == 405
    assert client.post(f"{PATH}?video_ids=A", json={"video_ids": ["A"]}).status_code == 422


def test_a_key_is_held_to_its_kinds_and_videos(tables: Tables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    key, secret = new_key("read", "acme")
    held = msgspec.structs.replace(key, kinds=("view",), video_id_prefix="a-")
    change_keys(tmp_path / "keys.json", lambda _keys: (held,))
    service = query_app.build_service(
        Settings(access=AccessSettings(mode="keys", keys_file=str(tmp_path / "keys.json"))), lambda: NOW
    )
    load_keys(service)
    client = TestClient(service.public, base_url="http://localhost", headers={"Authorization": f"Bearer {secret}"})
    assert client.post(PATH, json={"video_ids": ["a-1", "a-2"]}).status_code == 200
    for body in ({"video_ids": ["a-1", "b-1"]}, {"video_ids": ["a-1"], "kind": ["view", "like"]}):
        assert client.post(PATH, json=body).status_code == 403
    client.headers.clear()
    assert client.post(PATH, json={"video_ids": ["a-1"]}).status_code == 401
