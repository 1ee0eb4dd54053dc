"""What pages of others show of counts: a picture that no text can break, and a script of at most 1 KB."""

import asyncio
import xml.etree.ElementTree as ET
from pathlib import Path

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.query import app as query_app
from services.query.api.badge import COLORS, LABELS, badge
from services.query.api.public import embed_script
from services.query.titles.following import Following
from services.query.titles.index import Video
from settings import AccessSettings, KafkaSettings, Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.keys import load_keys

PAGE = "https://www.example.com"
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {"svg", "title", "clipPath", "rect", "g", "text"}


def get(app: Starlette, url: str, **headers: str) -> httpx2.Response:
    async def one() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(url, headers=headers)

    return asyncio.run(one())


@pytest.fixture
def following() -> Following:
    return Following(KafkaSettings(), 1 << 20)


@pytest.fixture
def open_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, following: Following) -> Starlette:
    tables = full(empty_history(tmp_path))
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    monkeypatch.setattr(query_app, "Following", lambda *_: following)
    return query_app.build_service(Settings(), lambda: NOW).public


@pytest.fixture
def keyed(open_app: Starlette, tmp_path: Path) -> tuple[Starlette, str, str]:
    """The service with keys, a publishable key for pages of one origin, and a secret one."""
    path = tmp_path / "keys.json"
    made, public = new_key("pubread", "acme")
    publishable = msgspec.structs.replace(made, kinds=("view",), origins=(PAGE,), video_id_prefix="A")
    read, secret = new_key("read", "acme")
    change_keys(path, lambda _keys: (publishable, read))
    service = query_app.build_service(Settings(access=AccessSettings(mode="keys", keys_file=str(path))), lambda: NOW)
    load_keys(service)
    return service.public, public, secret


def texts_of(svg: bytes) -> list[str | None]:
    return [one.text for one in ET.fromstring(svg).iter(f"{SVG}text")]


@given(st.integers(0, 10**15), st.text(max_size=64), st.sampled_from(list(LABELS)), st.sampled_from(list(COLORS)))
def test_no_text_of_others_is_more_than_a_title(views: int, of: str, label: str, color: str) -> None:
    drawn = badge(views, of=of, label=label, color=color)
    root = ET.fromstring(drawn)
    assert {one.tag.removeprefix(SVG) for one in root.iter()} == DRAWN
    assert texts_of(drawn) == [LABELS[label], f"{views:,}"]
    assert b"<script" not in drawn
    assert b"href" not in drawn.replace(of.encode("utf-8", "replace"), b"")


def test_a_title_is_escaped_and_what_no_xml_may_have_is_replaced() -> None:
    drawn = badge(7, of='</title><script>alert("1")</script>\x00\ud800', label="views", color="blue").decode()
    assert "&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;\ufffd\ufffd: 7 views</title>" in drawn


def test_a_badge_has_the_total(open_app: Starlette) -> None:
    total = get(open_app, "/v1/videos/A/views").json()["views"]
    answer = get(open_app, "/v1/videos/A/badge.svg?label=plays&color=green")
    assert texts_of(answer.content) == ["plays", f"{total:,}"]
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    for parameter, value in (("label", "<b>"), ("color", "#fff"), ("color", "")):
        answer = get(open_app, f"/v1/videos/A/badge.svg?{parameter}={value}")
        assert answer.status_code == 422


def test_a_page_that_the_key_names_shows_a_badge_and_shared_caches_may_keep_it(
    keyed: tuple[Starlette, str, str],
) -> None:
    app, public, secret = keyed
    url = f"/v1/videos/A/badge.svg?key={public}"
    answer = get(app, url, Referer=f"{PAGE}/")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=60")
    assert get(app, url, Origin=PAGE).status_code == 200
    for headers in ({}, {"Referer": "https://www.example.com.evil/"}, {"Origin": "https://evil", "Referer": PAGE}):
        assert get(app, url, **headers).status_code == 403
    # Of totals in JSON, a Referer says nothing.
    assert get(app, f"/v1/videos/A/views?key={public}", Referer=f"{PAGE}/").status_code == 403
    assert get(app, f"/v1/videos/B/badge.svg?key={public}", Referer=PAGE).status_code == 403
    assert get(app, f"/v1/videos/A/badge.svg?key={public}&kind=like", Referer=PAGE).status_code == 403
    own = get(app, "/v1/videos/A/badge.svg", Authorization=f"Bearer {secret}")
    assert (own.status_code, own.headers["cache-control"]) == (200, "private, max-age=60")


def test_a_publishable_key_is_told_no_title(following: Following, keyed: tuple[Starlette, str, str]) -> None:
    app, public, secret = keyed
    following.index.put([("A", Video("A", "Not yet published", "c-1", "Name", 1))])
    for headers, name in (({"Authorization": f"Bearer {secret}"}, "Not yet published"), ({"Referer": PAGE}, "A")):
        query = f"?key={public}" if "Referer" in headers else ""
        title = ET.fromstring(get(app, f"/v1/videos/A/badge.svg{query}", **headers).content).find(f"{SVG}title")
        assert title is not None
        assert title.text is not None
        assert title.text.startswith(f"{name}: ")


def test_a_number_that_nobody_knows_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    away = query_app.build_service(Settings(), lambda: NOW).public
    assert get(away, "/v1/videos/A/badge.svg").status_code == 503


def test_the_script_has_at_most_one_kilobyte_and_caches_keep_it(open_app: Starlette) -> None:
    answer = get(open_app, "/embed.js")
    assert answer.content == embed_script()
    assert len(answer.content) <= 1024
    assert answer.headers["cache-control"] == "public, max-age=3600"
    again = get(open_app, "/embed.js", **{"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
