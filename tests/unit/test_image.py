"""The image that counts: off unless it is wanted, held to keys and origins as events are, and never kept by a cache."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import Key, new_key
from services.ingest import app as ingest_app
from services.ingest.image import DOT
from settings import AccessSettings, IngestSettings, Settings
from tests.support.ingest_writer import FakeWriter, ingest_client, installed
from tests.support.keys import load_keys

ON = IngestSettings(image_path="/vc.gif")
PAGE = "https://www.example.com"


def add(keys_file: Path, key: Key) -> None:
    change_keys(keys_file, lambda keys: (*keys, key))


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    return installed(monkeypatch)


@pytest.fixture
def written(writer: FakeWriter) -> Any:
    """How many events were written until now."""
    return lambda: sum(packed.count for packed in writer.written)


def test_it_is_not_there_unless_it_is_wanted(writer: FakeWriter) -> None:
    assert ingest_client().get("/vc.gif?video_id=A").status_code == 404


def test_it_is_an_event_of_its_own_kind_and_kept_by_no_cache(writer: FakeWriter, written: Any) -> None:
    client = ingest_client(Settings(ingest=ON))
    answer = client.get("/vc.gif?video_id=A")
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, DOT, "no-store")
    assert answer.headers["content-type"] == "image/gif"
    assert written() == 1
    (event,) = client.get("/v1/recent").json()["events"]
    assert (event["video_id"], event["kind"]) == ("A", "noscript")
    assert client.head("/vc.gif?video_id=A").status_code == 200
    assert written() == 1


@pytest.mark.parametrize("query", ["", "?video_id=", "?video_id=A&kind=view", "?video_id=A&dry_run=x"])
def test_what_is_no_event_is_no_image(writer: FakeWriter, written: Any, query: str) -> None:
    answer = ingest_client(Settings(ingest=ON)).get(f"/vc.gif{query}")
    assert answer.status_code in {400, 422}
    assert answer.headers["cache-control"] == "no-store"
    assert written() == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Referer": "http://localhost:3000/page"}, 200),
        ({"Referer": "https://elsewhere.example/page"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_open_access_is_for_pages_of_this_machine(
    writer: FakeWriter, written: Any, headers: dict[str, str], status: int
) -> None:
    """A page of another site makes a browser ask for an image without saying whose page it is."""
    assert ingest_client(Settings(ingest=ON)).get("/vc.gif?video_id=A", headers=headers).status_code == status
    assert written() == (status == 200)


def test_a_key_holds_it_to_its_pages_and_kinds(writer: FakeWriter, written: Any, tmp_path: Path) -> None:
    keys_file = tmp_path / "keys.json"
    texts = []
    for kinds in (("noscript",), ("view",)):
        key, text = new_key("pubwrite", "acme")
        key = msgspec.structs.replace(key, kinds=kinds, origins=(PAGE,), video_id_prefix="*")
        add(keys_file, key)
        texts.append(text)
    settings = Settings(ingest=ON, access=AccessSettings(mode="keys", keys_file=str(keys_file)))
    service = ingest_app.build_service(settings)
    load_keys(service)
    client = TestClient(service.served)

    def ask(text: str, page: str) -> int:
        return client.get("/vc.gif", params={"key": text, "video_id": "A"}, headers={"Referer": page}).status_code

    assert ask(texts[0], f"{PAGE}/a/page?x=1") == 200
    assert written() == 1
    assert ask(texts[0], "https://elsewhere.example/") == 403
    assert ask(texts[1], f"{PAGE}/") == 400
    assert client.get("/vc.gif?video_id=A").status_code == 401
    assert client.get("/vc.gif?video_id=A&key=vc_write_x").status_code == 400
    assert written() == 1
