"""A Chromium for each file of tests of pages, and one ingest beside one site. Each test has a profile of its own."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.ingest import app as ingest_app
from settings import AccessSettings, Settings
from tests.support.chromium import ARGUMENTS, chromium, program
from tests.support.ingest_writer import StartedWriter
from tests.support.plain_chromium import PlainChromium, plain_chromium
from tests.support.watched_site import PATIENCE_S, Site, watched_site


# Of one file each: other files of this process have loops of their own.
@pytest.fixture(scope="module", name="chromium")
def chromium_of_a_file() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainChromium]:
    # Nobody clicks in its tabs, and Chromium pauses a film without sound in a hidden one.
    arguments = (*ARGUMENTS, "--autoplay-policy=no-user-gesture-required")
    with plain_chromium(program(), arguments, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="session")
def served_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Ingest that asks for keys, and a page whose key is publishable."""
    keys_file = tmp_path_factory.mktemp("keys") / "keys.json"
    key, text = new_key("pubwrite", "acme")
    anything = {"kinds": ("*",), "origins": ("*",), "video_id_prefix": "*"}
    change_keys(keys_file, lambda keys: (*keys, msgspec.structs.replace(key, **anything)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_app, "EventWriter", StartedWriter)
        service = ingest_app.build_service(Settings(access=AccessSettings(mode="keys", keys_file=str(keys_file))))
        with watched_site(service.served, text, Path(__file__).parent) as site:
            yield site


@pytest.fixture
def site(served_site: Site) -> Site:
    served_site.reset()
    return served_site


@pytest.fixture
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture
def page(profile: BrowserContext) -> Page:
    return profile.new_page()
