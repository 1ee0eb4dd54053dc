"""Who may do what over HTTP: keys and scopes at both services, and what open access refuses. No server."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import KeyFileError, new_key
from services.access.access import Access
from services.access.open_access import check_local
from services.ingest import app as ingest_app
from services.query import app as query_app
from services.refused import RefusedError
from services.server import Service
from settings import AccessSettings, Settings
from tests.support.ingest_writer import FakeWriter
from tests.support.keys import load_keys

PAGE = "https://www.example.com"
PUBLIC = {"kinds": ("view", "like"), "origins": (PAGE,), "video_id_prefix": "acme-"}


class Installation:
    """A file of keys, and both services with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = Settings(access=AccessSettings(mode="keys", keys_file=str(path)))
        self.writer = FakeWriter()

    def key(self, scope: Any, **more: Any) -> str:
        key, text = new_key(scope, "acme")
        change_keys(self.path, lambda keys: (*keys, msgspec.structs.replace(key, **more)))
        return text

    def ingest(self) -> Service:
        return ingest_app.build_service(self.settings)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    made = Installation(tmp_path / "keys.json")
    monkeypatch.setattr(ingest_app, "EventWriter", lambda *_arguments, **_named: made.writer)
    monkeypatch.setattr(FakeWriter, "start", lambda _self: None, raising=False)

    async def stop(_self: FakeWriter) -> None:
        return

    monkeypatch.setattr(FakeWriter, "stop", stop, raising=False)
    return made


def bearer(text: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **more}


def body(*kinds: str, video_id: str = "acme-1") -> dict[str, Any]:
    return {"events": [{"video_id": video_id, "kind": kind} for kind in kinds or ("view",)]}


def test_only_keys_that_may_write_write(installation: Installation) -> None:
    texts = {scope: installation.key(scope) for scope in ("write", "admin", "read")}
    with TestClient(installation.ingest().public) as client:
        statuses = {
            scope: client.post("/v1/events", json=body(), headers=bearer(text)).status_code
            for scope, text in texts.items()
        }
        assert statuses == {"write": 202, "admin": 202, "read": 403}
        for headers in ({}, bearer("vc_write_aaaaaaaaaaaa_" + "0" * 32), {"Authorization": "Basic YTpi"}, bearer("")):
            refused = client.post("/v1/events", json=body(), headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "key" in refused.json()["error"]
    assert len(installation.writer.written) == 2


def test_a_key_is_checked_before_the_body_is_read(installation: Installation) -> None:
    """It is not even JSON, and longer than the bound."""
    installation.key("read")
    with TestClient(installation.ingest().public) as client:
        assert client.post("/v1/events", content=b"x" * (9 << 20)).status_code == 401


def test_an_expired_key_is_refused(installation: Installation) -> None:
    text = installation.key("write", expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    with TestClient(installation.ingest().public) as client:
        answer = client.post("/v1/events", json=body(), headers=bearer(text))
        assert (answer.status_code, "expired" in answer.json()["error"]) == (401, True)


def test_a_publishable_key_writes_its_kinds_and_videos_from_its_pages(installation: Installation) -> None:
    text = installation.key("pubwrite", **PUBLIC)
    with TestClient(installation.ingest().public) as client:

        def post(content: dict[str, Any], **headers: str) -> httpx2.Response:
            return client.post("/v1/events", json=content, headers=bearer(text, **headers))

        assert post(body("view", "like"), Origin=PAGE).json()["accepted"] == 2
        mixed = post(
            {"events": [*body("view")["events"], *body("share")["events"], {"video_id": "other"}]}, Origin=PAGE
        )
        assert (mixed.status_code, mixed.json()["accepted"]) == (202, 1)
        assert [(one["index"], one["field"]) for one in mixed.json()["rejected"]] == [(1, "kind"), (2, "video_id")]
        assert post(body()).status_code == 403
        assert post(body(), Origin="https://evil.example").status_code == 403
        dry = client.post("/v1/events?dry_run=true", json=body(), headers=bearer(text, Origin=PAGE))
        assert dry.status_code == 403
        # A beacon has no headers of its own, and its body is text/plain.
        beacon = client.post(
            f"/v1/events?key={text}",
            content=json.dumps(body()),
            headers={"Content-Type": "text/plain;charset=UTF-8", "Origin": PAGE},
        )
        assert beacon.status_code == 202


def test_a_secret_key_in_an_address_is_refused_and_named_nowhere(
    installation: Installation, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also beside a header with a valid key, and where no key is needed."""
    text = installation.key("write")
    for service in (installation.ingest(), ingest_app.build_service(Settings())):
        with TestClient(service.served, base_url="http://localhost") as client:
            for headers in ({}, bearer(text)):
                answer = client.post(f"/v1/events?key={text}", json=body(), headers=headers)
                assert (answer.status_code, "replace" in answer.json()["error"]) == (400, True)
                assert text not in answer.text
    asked = TestClient(query_app.build_service(installation.settings).public)
    assert asked.get(f"/v1/videos/acme-1/views?key={text}").status_code == 400
    assert installation.writer.written == []
    # The client's own log has what it asks for.
    logged = [one.getMessage() for one in caplog.records if not one.name.startswith("httpx")]
    assert text not in "".join([*logged, *capfd.readouterr()])


def test_kinds_for_watching_belong_to_their_scope(installation: Installation) -> None:
    canary, write = installation.key("canary"), installation.key("write")
    with TestClient(installation.ingest().public) as client:

        def accepted(text: str, kind: str) -> int:
            answer = client.post("/v1/events", json=body(kind), headers=bearer(text)).json()
            return int(answer["accepted"])

        assert [accepted(canary, "canary:a"), accepted(canary, "view")] == [1, 0]
        assert [accepted(write, "canary:a"), accepted(write, "view")] == [0, 1]


def test_the_project_of_the_key_is_written(installation: Installation) -> None:
    text = installation.key("write")
    with TestClient(installation.ingest().public) as client:
        client.post("/v1/events", json=body(), headers=bearer(text))
    (packed,) = installation.writer.written
    assert b"acme" in b"".join(packed.blocks).replace(b"acme-1", b"")


def test_readers_read_and_publishable_ones_read_totals_alone(installation: Installation) -> None:
    read, write = installation.key("read"), installation.key("write")
    public = installation.key("pubread", **PUBLIC)
    service = query_app.build_service(installation.settings)
    load_keys(service)
    client = TestClient(service.public, raise_server_exceptions=False)

    def status(path: str, text: str, **headers: str) -> int:
        return client.get(path, headers=bearer(text, **headers)).status_code

    # 503: the key was let in, and there is no Cassandra behind it.
    assert status("/v1/videos/acme-1/views", read) == 503
    assert status("/v1/ledger", read) == 503
    assert status("/v1/videos/acme-1/views", write) == 403
    assert client.get("/v1/videos/acme-1/views").status_code == 401
    assert status("/v1/videos/acme-1/views", public, Origin=PAGE) == 503
    assert status("/v1/videos/acme-1/views?kind=share", public, Origin=PAGE) == 403
    assert status("/v1/videos/other/views", public, Origin=PAGE) == 403
    for path in ("/v1/videos/acme-1/series", "/v1/top", "/v1/ledger", "/v1/videos/acme-1/history"):
        assert status(path, public, Origin=PAGE) == 403
    assert client.get("/healthz").status_code == 200


def test_a_new_version_of_the_file_is_taken_and_a_broken_one_is_not(installation: Installation) -> None:
    text = installation.key("write")
    access = Access(installation.settings.access, CollectorRegistry())
    access.file.load()
    later = installation.key("write")
    access.file.reload()
    assert access.known.find(later).key.scope == "write"
    good = installation.path.read_bytes()
    installation.path.write_bytes(good[:-10])
    access.file.reload()
    assert access.known.find(text)
    assert access.file._gauge._value.get() == 1
    installation.path.unlink()
    access.file.reload()
    assert access.known.find(text)
    installation.path.write_bytes(good)
    access.file.reload()
    assert access.file._gauge._value.get() == 0


def test_a_service_without_its_file_does_not_start(installation: Installation) -> None:
    with pytest.raises(KeyFileError, match="keys add"), TestClient(installation.ingest().public):
        pass


def test_operators_withdraw_at_the_private_port(installation: Installation) -> None:
    text, admin = installation.key("write"), installation.key("admin")
    key_id = text.split("_")[2]
    service = installation.ingest()
    told = {"withdrawn_at": "2026-01-01T00:00:00Z"}
    with TestClient(service.public) as client:
        private = TestClient(service.private)
        assert client.post("/v1/events", json=body(), headers=bearer(text)).status_code == 202
        assert private.post(f"/v1/keys/{key_id}", json=told).status_code == 401
        assert private.post(f"/v1/keys/{key_id}", json=told, headers=bearer(text)).status_code == 403
        assert private.post(f"/v1/keys/{key_id}", json={"x": 1}, headers=bearer(admin)).status_code == 400
        assert private.post(f"/v1/keys/{'x' * 33}", json=told, headers=bearer(admin)).status_code == 400
        assert private.post(f"/v1/keys/{key_id}", json=told, headers=bearer(admin)).json() == {"is_known": True}
        assert client.post("/v1/events", json=body(), headers=bearer(text)).status_code == 401
        assert client.post(f"/v1/keys/{key_id}", json={}, headers=bearer(admin)).status_code == 404


Header = tuple[list[str], list[str], list[str]]


@pytest.mark.parametrize(
    "header",
    [
        (["localhost:8080"], [], []),
        (["127.0.0.1:8080"], ["http://localhost:3000"], []),
        (["[::1]:8080"], ["https://[::1]"], ["127.0.0.1, ::1"]),
        (["api.localhost"], [], []),
        ([], [], []),
    ],
)
def test_open_access_lets_in_what_comes_from_this_machine(header: Header) -> None:
    check_local(*header)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ((["evil.example"], [], []), "Host"),
        ((["localhost.evil.example:8080"], [], []), "Host"),
        ((["10.0.0.1"], [], []), "Host"),
        ((["127.0.0.1.evil.example"], [], []), "Host"),
        ((["localhost@evil.example"], [], []), "Host"),
        ((["localhost", "evil.example"], [], []), "Host"),
        (([""], [], []), "Host"),
        ((["localhost"], ["null"], []), "Origin"),
        ((["localhost"], ["https://evil.example"], []), "Origin"),
        ((["localhost"], ["https://localhost.evil.example"], []), "Origin"),
        ((["localhost"], ["file://"], []), "Origin"),
        ((["localhost"], [""], []), "Origin"),
        ((["localhost"], [], ["203.0.113.7"]), "X-Forwarded-For"),
        ((["localhost"], [], ["127.0.0.1, 203.0.113.7"]), "X-Forwarded-For"),
        ((["localhost"], [], ["unknown"]), "X-Forwarded-For"),
    ],
)
def test_open_access_refuses_what_is_foreign(header: Header, name: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_local(*header)
    assert (caught.value.status, caught.value.error.startswith(f"{name}:")) == (403, True)


@pytest.mark.parametrize("app", [ingest_app, query_app])
def test_both_services_refuse_pages_of_other_sites_in_open_access(app: Any) -> None:
    client = TestClient(app.build_service(Settings()).public, base_url="http://localhost")
    ask: Callable[..., Any] = client.post if app is ingest_app else client.get
    path = "/v1/events" if app is ingest_app else "/v1/top"
    assert ask(path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert ask(path, headers={"Host": "evil.example"}).status_code == 403


def test_pages_may_ask_by_cors(installation: Installation) -> None:
    installation.key("write")
    with TestClient(installation.ingest().public) as client:
        preflight = client.options(
            "/v1/events",
            headers={
                "Origin": PAGE,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
            },
        )
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
        now = client.get("/v1/time", headers={"Origin": PAGE})
        assert now.headers["access-control-allow-origin"] == "*"
        assert "RateLimit" in now.headers["access-control-expose-headers"]
        assert now.headers["cache-control"] == "no-store"
