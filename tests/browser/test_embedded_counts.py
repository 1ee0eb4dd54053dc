"""A page that shows its own counts by the script for it, in Chromium, from the real query service over full tables."""

from collections.abc import Iterator

import msgspec
import pytest
from playwright.sync_api import BrowserContext
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.query import app as query_app
from settings import AccessSettings, Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.keys import load_keys
from tests.support.watched_site import served
from tools.stack.machine.ports import HOST, free_ports

PAGE = """<!doctype html><title>counts</title>
<b id="a" data-views="A"></b><b id="like" data-views="A" data-kind="like">as before</b>
<b id="other" data-views="other">as before</b><img id="badge" src="{badge}">
<script defer src="{url}/embed.js" data-key="{key}" data-lang="de"></script>"""


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ports = free_ports(("query", "page"))
    origin = f"http://localhost:{ports['page']}"
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    made, text = new_key("pubread", "acme")
    key = msgspec.structs.replace(made, kinds=("view",), origins=(origin,), video_id_prefix="A")
    change_keys(path, lambda _keys: (key,))
    tables = full(empty_history(tmp_path_factory.mktemp("history")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_app, "CountStore", lambda *_: tables)
        access = AccessSettings(mode="keys", keys_file=str(path), origins=origin)
        service = query_app.build_service(Settings(access=access), lambda: NOW)
    load_keys(service)
    url = f"http://{HOST}:{ports['query']}"
    html = PAGE.format(url=url, key=text, badge=f"{url}/v1/videos/A/badge.svg?key={text}")
    pages = Starlette(routes=[Route("/", lambda _request: HTMLResponse(html))])
    with served(service.public, ports["query"], lifespan="off"), served(pages, ports["page"]):
        yield f"{origin}/"


def test_a_page_shows_what_its_key_may_see_and_leaves_the_rest(page_url: str, profile: BrowserContext) -> None:
    page = profile.new_page()
    page.goto(page_url)
    page.wait_for_function("document.querySelector('#a').textContent.length > 0")
    # 1 + 2 + ... + 49 views, and 40 that were imported, as German writes numbers.
    assert page.text_content("#a") == "1.265"
    page.wait_for_load_state("networkidle")
    assert [page.text_content(one) for one in ("#like", "#other")] == ["as before", "as before"]
    assert page.evaluate("document.querySelector('#badge').naturalWidth") > 0
