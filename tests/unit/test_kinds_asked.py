"""Several kinds in one answer: each as it is alone, those that a video has with *, and never a reserved one."""

from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.query import app as query_app
from services.query.api.parameters.kinds import KINDS_MAX
from services.query.counts.store import CountStore
from settings import AccessSettings, QuerySettings, Settings
from tests.support.full_tables import HOUR, NOW, empty_history, full, has_imported, said
from tests.support.keys import load_keys
from tests.support.tables import Tables

SOME_POINTS = 2000


def at(hours: float) -> int:
    return int((NOW - hours * HOUR).timestamp()) // 60


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = full(empty_history(tmp_path))
    CountStore.__init__(made, made._session, QuerySettings(), made._history, ["like"])
    kinds = ("view", "share", "blocked:view", "canary:beat")
    made._stream = {("A", kind, at(hours)): place + 1 for place, kind in enumerate(kinds) for hours in (0, 30)}
    # Viewed for the first time since the last rollup: one kind is declared, and one is not.
    made._stream |= {("B", "like", at(0)): 5, ("B", "new", at(0)): 7}
    made._rolled = made._stream
    has_imported(made, {("A", "old", None): 100, ("A", "old", (NOW - 48 * HOUR).date()): 11})
    return made


@pytest.fixture
def client(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    settings = Settings(query=QuerySettings(points_max=SOME_POINTS))
    return TestClient(query_app.build_service(settings, lambda: NOW).public, base_url="http://localhost")


def test_one_kind_has_the_answer_that_it_always_had(client: TestClient) -> None:
    assert said(client, "/v1/videos/A/views?kind=share") | {"kind": "view"} != said(client, "/v1/videos/A/views")
    assert "kinds" not in said(client, "/v1/videos/A/views?kind=share")
    assert "kinds" not in said(client, "/v1/videos/A/series?kind=share")


def test_several_kinds_are_each_what_they_are_alone(client: TestClient) -> None:
    asked = ["share", "view", "nothing", "blocked:view"]
    query = "&".join(f"kind={kind}" for kind in asked)
    found = said(client, f"/v1/videos/A/views?{query}")
    assert [one["kind"] for one in found["kinds"]] == asked
    for one in found["kinds"]:
        alone = said(client, f"/v1/videos/A/views?kind={one['kind']}")
        assert one == {name: alone[name] for name in one}
        shared = {name for name in found if name not in ("kinds", "video_id")}
        assert {name: found[name] for name in shared} == {name: alone[name] for name in shared}
    for granularity in ("minute", "hour", "day", "week", "month"):
        of_all = said(client, f"/v1/videos/A/series?granularity={granularity}&{query}")
        for of_kind in of_all["kinds"]:
            alone = said(client, f"/v1/videos/A/series?granularity={granularity}&kind={of_kind['kind']}")
            assert (of_kind["points"], of_kind["imported"]) == (alone["points"], alone["imported"])


def test_all_kinds_are_those_with_views_and_no_reserved_ones(client: TestClient) -> None:
    found = said(client, "/v1/videos/A/views?kind=*")
    assert [(one["kind"], one["views"], one["blocked"]) for one in found["kinds"]] == [
        ("old", 111, 0),
        ("share", 4, 0),
        ("view", 2, 6),
    ]
    assert (found["kinds_through"], found["kinds_left_out"]) == ("2026-03-20T14:00:00Z", 0)
    # What is declared is known at once, and others with the next rollup.
    assert [one["kind"] for one in said(client, "/v1/videos/B/views?kind=*")["kinds"]] == ["like"]
    assert said(client, "/v1/videos/nobody/views?kind=*")["kinds"] == []
    days = said(client, "/v1/videos/A/series?granularity=day&kind=*")
    assert [one["kind"] for one in days["kinds"]] == ["old", "share", "view"]
    hours = said(client, "/v1/videos/A/series?granularity=hour&kind=*&zone=Asia/Kathmandu")
    assert [one["kind"] for one in hours["kinds"]] == ["share", "view"]


def test_many_videos_have_each_the_kinds_that_it_has(client: TestClient) -> None:
    answer = client.post("/v1/videos:batchGet", json={"video_ids": ["B", "A", "nobody"], "kind": "*", "sum": True})
    found = answer.json()
    assert [(of["video_id"], [one["kind"] for one in of["kinds"]]) for of in found["videos"]] == [
        ("B", ["like"]),
        ("A", ["old", "share", "view"]),
        ("nobody", []),
    ]
    assert found["videos"][1]["kinds"] == said(client, "/v1/videos/A/views?kind=*")["kinds"]
    assert {one["kind"]: one["views"] for one in found["sum"]} == {"like": 5, "old": 111, "share": 4, "view": 2}
    assert found["kinds_through"] == "2026-03-20T14:00:00Z"


def test_a_table_has_a_row_for_each_kind_and_point(client: TestClient) -> None:
    def rows(path: str) -> list[list[str]]:
        answer = client.get(path, headers={"Accept": "text/csv"})
        assert answer.status_code == 200, answer.text
        return [line.split(",") for line in answer.text.split()]

    totals = rows("/v1/videos/A/views?kind=share&kind=view")
    assert totals[0] == ["kind", "views", "imported", "blocked", "late_added"]
    assert [row[:2] for row in totals[1:]] == [["share", "4"], ["view", "2"]]
    head, *days = rows("/v1/videos/A/series?granularity=day&kind=share&kind=view")
    assert len(head) == len({*head})
    assert head[:3] == ["kind", "start", "views"]
    assert {row[0] for row in days} == {"share", "view"}
    assert {len(row) for row in days} == {len(head)}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("kind=view&kind=view", "kind[1]"),
        ("kind=*&kind=view", "kind[0]"),
        ("kind=view&kind=" + "x" * 99, "kind[1]"),
        ("&".join(f"kind=k{n}" for n in range(KINDS_MAX + 1)), "kind"),
    ],
)
def test_what_cannot_be_asked_for_together_is_named(client: TestClient, query: str, field: str) -> None:
    for path in ("views", "series"):
        answer = client.get(f"/v1/videos/A/{path}?{query}")
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == field


@pytest.mark.parametrize(
    "path",
    [
        "/v1/videos/A/breakdown?by=country",
        "/v1/videos/A/viewers?",
        "/v1/videos/A/history?day=2026-03-19",
        "/v1/videos/A/badge.svg?",
        "/v1/videos/A/live?events=1",
        "/v1/channels/c-1?",
        "/v1/channels/c-1/series?",
        "/v1/top?",
        "/v1/top/live?events=1",
    ],
)
def test_where_one_kind_is_asked_for_all_kinds_are_no_kind_of_that_name(client: TestClient, path: str) -> None:
    answer = client.get(f"{path}&kind=*")
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["kind"])
    assert "name one kind" in answer.text


def test_all_kinds_together_have_so_many_points_at_most(client: TestClient) -> None:
    span = "granularity=hour&from=2026-03-01T00:00:00Z&to=2026-04-10T00:00:00Z"
    assert client.get(f"/v1/videos/A/series?{span}&kind=view&kind=share").status_code == 200
    for kinds in ("kind=view&kind=share&kind=like", "kind=*"):
        answer = client.get(f"/v1/videos/A/series?{span}&{kinds}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "kind"


def test_a_key_that_is_held_to_kinds_sees_those_alone(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    key, secret = new_key("read", "acme")
    held = msgspec.structs.replace(key, kinds=("share", "like"))
    change_keys(tmp_path / "keys.json", lambda _keys: (held,))
    access = AccessSettings(mode="keys", keys_file=str(tmp_path / "keys.json"))
    service = query_app.build_service(Settings(access=access), lambda: NOW)
    load_keys(service)
    client = TestClient(service.public, base_url="http://localhost", headers={"Authorization": f"Bearer {secret}"})
    assert [one["kind"] for one in said(client, "/v1/videos/A/views?kind=*")["kinds"]] == ["share"]
    found = client.post("/v1/videos:batchGet", json={"video_ids": ["A"], "kind": "*"}).json()
    assert [one["kind"] for one in found["videos"][0]["kinds"]] == ["share"]
    assert client.get("/v1/videos/A/viewers?kind=*").status_code == 403
    assert client.get("/v1/videos/A/views?kind=share&kind=view").status_code == 403
    assert client.get("/v1/videos/A/views?kind=share&kind=like").status_code == 200
