"""Totals past Starlette are answered as Starlette's application answers them, and all else is given to that. No server.

Held answers are those that would be made anew, for who may have them, until the numbers in them are too old.
"""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.query import app as query_app
from services.query.api import held_answers
from services.server import Service
from services.short_way import ShortWay
from settings import AccessSettings, QuerySettings, Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.keys import load_keys
from tests.support.tables import Tables

PATH = "/v1/videos/A/views"
BEARER = ("Authorization", "Bearer SECRET")
ID = ("X-Request-Id", "one")
# What is asked, by method, path and header fields; SECRET and others stand for the texts of keys.
ASKED: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("GET", PATH, []),
    ("GET", PATH, [("Authorization", "Bearer vc_unknown")]),
    ("GET", PATH, [("Authorization", "Basic SECRET")]),
    ("GET", f"{PATH}?key=SECRET", []),
    ("GET", f"{PATH}?key=PUBLIC", []),
    ("GET", f"{PATH}?key=PUBLIC", [("Origin", "https://page.example")]),
    ("GET", PATH, [("Authorization", "Bearer HELD")]),
    ("GET", f"{PATH}?kind=like", [("Authorization", "Bearer HELD")]),
    ("GET", "/v1/videos/B/views", [("Authorization", "Bearer HELD")]),
    ("GET", PATH, [("Authorization", "Bearer WRITER")]),
    ("GET", PATH, [("Authorization", "Bearer CHANNEL")]),
    ("GET", f"{PATH}?kind=canary:a", [BEARER]),
    *[
        (method, path, [BEARER, *fields])
        for method, path, fields in [
            ("GET", PATH, []),
            ("HEAD", PATH, []),
            ("POST", PATH, []),
            ("OPTIONS", PATH, [("Origin", "https://page.example"), ("Access-Control-Request-Method", "GET")]),
            ("GET", PATH, [("Origin", "https://page.example")]),
            ("GET", PATH, [("ORIGIN", "")]),
            ("GET", PATH, [("Accept", "text/csv")]),
            ("GET", PATH, [("Accept", "text/csv"), ("accept", "application/json;q=0.5")]),
            ("GET", PATH, [("Accept-Encoding", "gzip")]),
            ("GET", PATH, [("If-None-Match", "*")]),
            ("GET", PATH, [("If-None-Match", '"other"')]),
            ("GET", f"{PATH}?kind=like", []),
            ("GET", f"{PATH}?kind=", []),
            ("GET", f"{PATH}?kind=a&kind=b", []),
            ("GET", f"{PATH}?kind=%FF", []),
            ("GET", f"{PATH}?other=1", []),
            ("GET", f"{PATH}/", []),
            ("GET", f"{PATH}%0A", []),
            ("GET", "/v1/videos/views", []),
            ("GET", "/v1/videos//views", []),
            ("GET", "/v1/videos/A/series/views", []),
            ("GET", "/v1/videos/A%2FB/views", []),
            ("GET", "/v1/videos/A/B/views", []),
            ("GET", "/v1/videos/%FF/views", []),
            ("GET", "/v1/videos/%E2%82%AC/views", []),
            ("GET", f"/v1/videos/{'x' * 65}/views", []),
            ("GET", "/v1/videos/A/views%3Fkind=like", []),
            ("GET", "/v1/videos%2FA/views", []),
            ("GET", "/v1/videos/A/series?granularity=day&from=2026-03-01T00:00:00Z", []),
            ("GET", "/v1/top", []),
            ("GET", "/nothing/views", []),
        ]
    ],
]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return full(empty_history(tmp_path))


@pytest.fixture
def service(tables: Tables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Service, dict[str, str]]:
    """A service with keys, and the texts of its keys."""
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    keys = {
        "SECRET": new_key("read", "acme"),
        "HELD": new_key("read", "acme"),
        "CHANNEL": new_key("read", "acme"),
        "WRITER": new_key("write", "acme"),
        "PUBLIC": new_key("pubread", "acme"),
    }
    held = replace(keys["HELD"][0], kinds=("view",), video_id_prefix="A")
    public = replace(keys["PUBLIC"][0], origins=("https://page.example",), kinds=("view",), video_id_prefix="*")
    channel = replace(keys["CHANNEL"][0], channels=("c-9",))
    path = tmp_path / "keys.json"
    change_keys(path, lambda _keys: (channel, keys["SECRET"][0], keys["WRITER"][0], held, public))
    access = AccessSettings(mode="keys", keys_file=str(path), origins="https://page.example")
    made = query_app.build_service(Settings(access=access), lambda: NOW)
    load_keys(made)
    return made, {name: text for name, (_, text) in keys.items()}


def ask(app: Any, texts: dict[str, str], method: str, path: str, fields: list[tuple[str, str]]) -> Any:
    def filled(text: str) -> str:
        for name, value in texts.items():
            text = text.replace(name, value)
        return text

    headers = [(name.encode(), filled(value).encode("latin-1")) for name, value in (*fields, ID)]
    answer = TestClient(app, base_url="http://localhost").request(method, filled(path), headers=headers)
    return answer.status_code, sorted(answer.headers.multi_items()), answer.content


def test_every_answer_is_that_of_the_application(service: tuple[Service, dict[str, str]]) -> None:
    made, texts = service
    statuses = set()
    for asked in ASKED:
        usual = ask(made.public, texts, *asked)
        assert ask(made.served, texts, *asked) == usual, asked
        statuses.add(usual[0])
    assert {200, 304, 400, 401, 403, 404, 405, 422} <= statuses


def test_only_totals_without_an_origin_go_the_short_way(service: tuple[Service, dict[str, str]]) -> None:
    """Without this, the test above would compare the application with itself."""
    made, texts = service
    given = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.append(scope["path"])
        await made.public(scope, receive, send)

    assert isinstance(made.front, ShortWay)
    short = ShortWay(app, made.front._takes, made.front._answer)
    for method, path, fields, is_short in [
        ("GET", PATH, [], True),
        ("GET", f"{PATH}?kind=like", [], True),
        ("GET", "/v1/videos/A%2FB/views", [], True),
        ("GET", PATH, [("Origin", "https://page.example")], False),
        ("HEAD", PATH, [], False),
        ("GET", "/v1/videos/views", [], False),
        ("GET", "/v1/videos/A/series", [], False),
    ]:
        given.clear()
        ask(short, texts, method, path, [BEARER, *fields])
        assert (given == []) is is_short, (method, path, fields)


def test_an_answer_is_given_again_until_its_numbers_may_have_changed(
    service: tuple[Service, dict[str, str]], tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, texts = service
    hour_s = 3600.0
    clock = {"now_s": 0.0}
    monkeypatch.setattr(tables, "fresh_until_s", lambda _total: clock["now_s"] + hour_s)
    monkeypatch.setattr(held_answers, "monotonic", lambda: clock["now_s"])
    first = ask(made.served, texts, "GET", PATH, [BEARER])
    read = len(tables.asked)
    assert ask(made.served, texts, "GET", PATH, [BEARER]) == first
    # The application holds the same answers, and has header fields of its own for another origin.
    assert ask(made.public, texts, "GET", PATH, [BEARER, ("Origin", "https://page.example")])[2] == first[2]
    assert len(tables.asked) == read
    # Another form, another question, or who may not have it, is another answer.
    csv = ask(made.served, texts, "GET", PATH, [BEARER, ("Accept", "text/csv")])
    assert csv[2].startswith(b"video_id,")
    assert ask(made.served, texts, "GET", f"{PATH}?kind=like", [BEARER])[2] != first[2]
    assert ask(made.served, texts, "GET", PATH, [])[0] == 401
    # Of which channel a video is, nobody knows here.
    for name, status in (("WRITER", 403), ("CHANNEL", 503)):
        assert ask(made.served, texts, "GET", PATH, [("Authorization", f"Bearer {name}")])[0] == status
    read = len(tables.asked)
    clock["now_s"] += hour_s
    assert ask(made.served, texts, "GET", PATH, [BEARER])[0] == 200
    assert len(tables.asked) > read


def test_numbers_that_still_change_are_held_for_less_than_a_second() -> None:
    assert 0 < QuerySettings().fresh_ms <= 1000
