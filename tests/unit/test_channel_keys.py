"""Keys that are held to channels: what they may ask, and what they hear while it is unknown where a video belongs."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette

from connectors.key_file import change_keys
from schemas.access_keys import KeyFileError, check, new_key
from services.query import app as query_app
from services.query.titles.following import Following, Progress
from services.query.titles.index import Video
from settings import AccessSettings, KafkaSettings, Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.keys import load_keys
from tools.keys import add_key


class Served:
    """The service, a key for the channel c-1, and what is known of videos: A and E are of it, B is of another."""

    def __init__(self, app: Starlette, key: str, following: Following) -> None:
        self.app = app
        self.following = following
        self._key = key

    def ask(self, url: str, method: str = "GET", **request: Any) -> httpx2.Response:
        async def one() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, url, headers={"Authorization": f"Bearer {self._key}"}, **request)

        return asyncio.run(one())

    def status(self, url: str) -> int:
        return self.ask(url).status_code


def video(video_id: str, channel: str) -> tuple[str, Video]:
    return video_id, Video(video_id, "Title", channel, "Name", 1)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    path = tmp_path / "keys.json"
    made, text = new_key("read", "acme")
    change_keys(path, lambda _keys: (msgspec.structs.replace(made, channels=("c-1",)),))
    following = Following(KafkaSettings(), 1 << 20)
    following.index.put([video("A", "c-1"), video("E", "c-1"), video("B", "c-2")])
    following.progress = Progress(1.0, None)
    tables = full(empty_history(tmp_path))
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    monkeypatch.setattr(query_app, "Following", lambda *_: following)
    service = query_app.build_service(Settings(access=AccessSettings(mode="keys", keys_file=str(path))), lambda: NOW)
    load_keys(service)
    return Served(service.public, text, following)


def test_it_asks_for_its_channels_and_their_videos_alone(served: Served) -> None:
    for url in (
        "/v1/channels/c-1/series",
        "/v1/videos/A/views",
        "/v1/videos/A/series",
        "/v1/videos/A/live?events=1",
        "/v1/videos/A/badge.svg",
    ):
        assert served.status(url) == 200, url
    for url in (
        "/v1/channels/c-2/series",
        "/v1/videos/B/views",
        "/v1/videos/B/live?events=1",
        "/v1/videos/B/badge.svg",
        "/v1/videos/nobody/views",
        # What has those of others, too.
        "/v1/top",
        "/v1/top/live?events=1",
        "/v1/ledger",
        "/v1/audits",
        "/v1/search?q=A",
    ):
        assert served.status(url) == 403, url
    assert "ask for c-1" in served.ask("/v1/videos/B/views").text


def test_each_video_of_a_batch_must_be_of_its_channels(served: Served) -> None:
    def status(*videos: str) -> int:
        return served.ask("/v1/videos:batchGet", "POST", json={"video_ids": videos}).status_code

    assert (status("A", "E"), status("A", "B"), status("A", "nobody")) == (200, 403, 403)


def test_while_metadata_is_not_read_what_is_unknown_is_no_refusal_for_good(served: Served) -> None:
    served.following.progress = Progress(None, "not read")
    answer = served.ask("/v1/videos/nobody/views")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "not known yet: not read" in answer.text
    # What is known is answered.
    assert (served.status("/v1/videos/A/views"), served.status("/v1/videos/B/views")) == (200, 403)
    served.following.index.put([video("A", "c-2"), video("nobody", "c-1")])
    assert (served.status("/v1/videos/A/views"), served.status("/v1/videos/nobody/views")) == (403, 200)


@pytest.mark.parametrize("scope", ["write", "admin", "canary", "pubwrite"])
def test_channels_are_for_readers(scope: Any) -> None:
    with pytest.raises(KeyFileError, match="scopes read and pubread"):
        check(msgspec.structs.replace(new_key(scope, "acme")[0], channels=("c-1",)))


@pytest.mark.parametrize("channel", ["", "*"])
def test_a_channel_has_a_name(tmp_path: Path, channel: str) -> None:
    with pytest.raises(KeyFileError, match="channel"):
        add_key(
            tmp_path / "keys.json",
            scope="read",
            project="acme",
            kinds=[],
            origins=[],
            video_prefixes=[],
            channels=[channel],
            expires_at=None,
        )
