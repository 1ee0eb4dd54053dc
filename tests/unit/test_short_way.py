"""POST /v1/events past Starlette is answered as Starlette's application answers it, and all else is given to that."""

import asyncio
import gc
import gzip
import json
import time
import uuid
import weakref
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from msgspec.structs import replace
from starlette.requests import Request
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services import bodies
from services.connections import ConnectionAge, DatedConnection, write_answer
from services.ingest import app as ingest_app
from services.ingest.short_way import short_way
from services.leaving import Life
from services.refused import RefusedError
from services.room import Room
from services.server import Service
from settings import AccessSettings, IngestSettings, LimitSettings, Settings
from settings.groups.serving import ServingSettings
from tests.support import ingest_writer
from tests.support.keys import load_keys
from tests.support.wires import Wire

JSON = "application/json"
PATH = "/v1/events"
EVENT = {"event_id": str(uuid.uuid4()), "video_id": "A", "viewed_at": time.time_ns() // 1_000_000}
BODY = json.dumps({"events": [EVENT]}).encode()
OLD = json.dumps({"events": [{**EVENT, "viewed_at": 946_684_800_000}], "sent_at": 1}).encode()
# So many tokens come back between two requests that each finds full buckets.
MANY = LimitSettings(events_per_s=1e12, bytes_per_s=1e15, address_events_per_s=1e12, address_bytes_per_s=1e15)

# What is asked, by method, path, body and header fields; "SECRET" and "PUBLIC" stand for the texts of keys.
ASKED: list[tuple[str, str, bytes, list[tuple[str, str]]]] = [
    ("POST", PATH, BODY, []),
    ("POST", PATH, BODY, [("Authorization", "Bearer vc_unknown")]),
    ("POST", PATH, BODY, [("Authorization", "Basic SECRET")]),
    ("POST", f"{PATH}?key=SECRET", BODY, []),
    ("POST", f"{PATH}?key=PUBLIC", BODY, [("Content-Type", "text/plain")]),
    *[
        (method, path, body, [("Authorization", "Bearer SECRET"), ("Content-Type", JSON), *fields])
        for method, path, body, fields in [
            ("POST", PATH, BODY, []),
            ("POST", PATH, BODY, [("Origin", "https://page.example")]),
            ("POST", PATH, BODY, [("Origin", "https://other.example")]),
            ("POST", PATH, BODY, [("ORIGIN", "")]),
            ("POST", f"{PATH}/", BODY, []),
            ("POST", f"{PATH}?dry_run=true", BODY, []),
            ("POST", f"{PATH}?dry_run=perhaps", BODY, []),
            ("POST", f"{PATH}?dryrun=true", BODY, []),
            ("POST", PATH, OLD, []),
            ("POST", PATH, b"", []),
            ("POST", PATH, b"[]", []),
            ("POST", PATH, b'{"events": []}', []),
            ("POST", PATH, b" " * 3000, []),
            ("POST", PATH, gzip.compress(BODY), [("Content-Encoding", "gzip")]),
            ("POST", PATH, BODY, [("Content-Encoding", "gzip")]),
            ("POST", PATH, BODY, [("Content-Encoding", "br")]),
            ("POST", PATH, BODY, [("Idempotency-Key", "one")]),
            ("POST", PATH, BODY, [("Idempotency-Key", "one"), ("idempotency-key", "two")]),
            ("POST", PATH, BODY, [("Idempotency-Key", "\xfc")]),
            ("GET", PATH, b"", []),
            ("HEAD", PATH, b"", []),
            ("PUT", PATH, BODY, []),
            ("OPTIONS", PATH, b"", [("Origin", "https://page.example"), ("Access-Control-Request-Method", "POST")]),
            ("GET", "/v1/recent", b"", []),
            ("GET", "/openapi.json", b"", []),
            ("GET", "/nothing", b"", []),
        ]
    ],
    ("POST", PATH, BODY, [("Authorization", "Bearer SECRET"), ("Content-Type", "text/csv")]),
    ("POST", PATH, BODY, [("authorization", "bearer SECRET"), ("content-type", JSON), ("content-type", "text/csv")]),
]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Service, dict[str, str]]:
    """A service with keys, and the texts of its keys."""
    monkeypatch.setattr(ingest_app, "EventWriter", ingest_writer.FakeWriter)
    monkeypatch.setattr(ingest_writer.FakeWriter, "failure", None)
    secret, secret_text = new_key("write", "acme")
    public, public_text = new_key("pubwrite", "acme")
    keys = (replace(secret, has_batch_ids=True), replace(public, origins=("*",), kinds=("view",), video_id_prefix="*"))
    path = tmp_path / "keys.json"
    change_keys(path, lambda _keys: keys)
    access = AccessSettings(mode="keys", keys_file=str(path), origins="https://page.example")
    made = ingest_app.build_service(Settings(access=access, limits=MANY, ingest=IngestSettings(body_bytes_max=2048)))
    load_keys(made)
    return made, {"SECRET": secret_text, "PUBLIC": public_text}


def ask(app: Any, texts: dict[str, str], method: str, path: str, body: bytes, fields: list[tuple[str, str]]) -> Any:
    def filled(text: str) -> str:
        for name, value in texts.items():
            text = text.replace(name, value)
        return text

    headers = [(name.encode(), filled(value).encode("latin-1")) for name, value in fields]
    answer = TestClient(app, base_url="http://localhost").request(method, filled(path), content=body, headers=headers)
    return answer.status_code, answer.headers.multi_items(), answer.content


def test_every_answer_is_that_of_the_application(service: tuple[Service, dict[str, str]]) -> None:
    made, texts = service
    statuses = set()
    for asked in ASKED:
        usual = ask(made.public, texts, *asked)
        shortened = ask(made.served, texts, *asked)
        if OLD in asked:
            # What is said of it has the time now.
            usual, shortened = usual[:1], shortened[:1]
        assert shortened == usual, asked
        statuses.add(usual[0])
    assert {200, 202, 400, 401, 404, 405, 413, 415, 422} <= statuses


@pytest.mark.parametrize("state", [{"failure": "no broker"}, {"trouble": "away"}, {"events_in_flight": 1 << 60}])
def test_refusals_are_those_of_the_application(
    state: dict[str, Any], service: tuple[Service, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, texts = service
    for name, value in state.items():
        monkeypatch.setattr(ingest_writer.FakeWriter, name, value)
    asked = ASKED[5]
    usual = ask(made.public, texts, *asked)
    assert usual[0] in {429, 503}
    assert ask(made.served, texts, *asked) == usual


def test_only_requests_with_events_and_without_an_origin_go_the_short_way(
    service: tuple[Service, dict[str, str]],
) -> None:
    """Without this, the test above would compare the application with itself."""
    made, texts = service
    given = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.append((scope["method"], scope["path"]))
        await made.public(scope, receive, send)

    intake = made.public.routes[0].endpoint.__self__  # type: ignore[attr-defined]
    short = short_way(app, intake.post_events)
    for method, path, fields, is_short in [
        ("POST", PATH, [], True),
        ("POST", f"{PATH}?dry_run=true", [], True),
        ("POST", PATH, [("Origin", "https://page.example")], False),
        ("POST", f"{PATH}/", [], False),
        ("GET", PATH, [], False),
        ("GET", "/v1/recent", [], False),
    ]:
        given.clear()
        ask(short, texts, method, path, BODY, fields)
        assert (given == []) is is_short, (method, path, fields)


# --- the body


HEAD = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize(
    ("chunks", "is_timed", "status"),
    [
        ([HEAD + b"1234"], False, b"200"),
        ([HEAD[:40], HEAD[40:] + b"1234"], False, b"200"),
        ([HEAD + b"12", b"34"], True, b"200"),
        ([HEAD, b"1234"], True, b"200"),
        # The first of two has its whole body, and the second has not.
        ([HEAD + b"1234" + HEAD + b"12", b"34"], True, b"200"),
        ([HEAD + b"1234" + HEAD + b"1234"], False, b"200"),
        ([HEAD + b"12"], True, b"408"),
    ],
)
def test_only_a_body_that_is_not_there_has_a_time_out(
    chunks: list[bytes], is_timed: bool, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[float | None] = []
    read: list[bytes] = []

    real = asyncio.timeout

    def timeout(delay_s: float | None) -> asyncio.Timeout:
        timed.append(delay_s)
        return real(delay_s)

    monkeypatch.setattr(asyncio, "timeout", timeout)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with Room(1000).request() as held:
            try:
                read.append(await bodies.read_body(Request(scope, receive), held, bytes_max=10, timeout_s=0.05))
                answered = 200
            except RefusedError as refused:
                answered = refused.status
        await send({"type": "http.response.start", "status": answered, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def run() -> bytes:
        wire = Wire()
        config = uvicorn.Config(app, lifespan="off")
        connection = DatedConnection(config, ServerState(), {}, serving=ServingSettings())
        connection.connection_made(wire)  # type: ignore[arg-type]
        for chunk in chunks:
            connection.data_received(chunk)
            for _ in range(5):
                await asyncio.sleep(0)
        requests = b"".join(chunks).count(b"POST")
        for _ in range(200):
            if wire.written.count(b"HTTP/1.1 ") == requests:
                break
            await asyncio.sleep(0.01)
        connection.connection_lost(None)
        return wire.written

    assert asyncio.run(run()).splitlines()[0].split()[1] == status
    assert bool(timed) is is_timed
    assert set(read) <= {b"1234"}


# --- the answer

REQUEST = HEAD + b"1234"


@pytest.mark.parametrize(
    ("sent", "is_closed"),
    [
        (REQUEST, False),
        (REQUEST + REQUEST, False),
        (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), True),
        (REQUEST.replace(b"host:", b"connection: close\r\nhost:"), True),
        (REQUEST.replace(b"host:", b"expect: 100-continue\r\nhost:"), False),
    ],
)
def test_an_answer_that_is_written_at_once_is_the_one_of_messages(sent: bytes, is_closed: bool) -> None:
    answers = [(b"retry-after", b"1"), (b"content-length", b"3")]

    async def run(*, at_once: bool) -> Wire:
        async def app(_scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if at_once:
                assert write_answer(send, 202, answers, b"abc")
            else:
                await send({"type": "http.response.start", "status": 202, "headers": answers})
                await send({"type": "http.response.body", "body": b"abc"})

        wire = Wire()
        connection = DatedConnection(uvicorn.Config(app, lifespan="off"), ServerState(), {}, serving=ServingSettings())
        connection.connection_made(wire)  # type: ignore[arg-type]
        connection.data_received(sent)
        for _ in range(20):
            await asyncio.sleep(0)
        assert connection.server_state.total_requests == sent.count(b"POST")
        is_closed = wire.is_closed
        connection.connection_lost(None)
        wire.is_closed = is_closed
        return wire

    at_once, messages = asyncio.run(run(at_once=True)), asyncio.run(run(at_once=False))
    assert at_once.written == messages.written
    assert at_once.written.count(b" 202 ") == sent.count(b"POST")
    assert (at_once.is_closed, messages.is_closed) == (is_closed, is_closed)


def test_an_answer_is_sent_in_messages_if_the_client_reads_slowly_or_somebody_adds_to_it() -> None:
    written: list[bool] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        written.append(write_answer(send, 202, [(b"content-length", b"0")], b""))
        if not written[-1]:
            await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    async def run() -> list[bytes]:
        found = []
        life = Life()
        aged = ConnectionAge(app, age_s=300, life=life)
        for happens in ("nothing", "paused", "leaves", "lost"):
            life.is_leaving = happens == "leaves"
            wire = Wire()
            connection = DatedConnection(
                uvicorn.Config(aged, lifespan="off"), ServerState(), {}, serving=ServingSettings()
            )
            connection.connection_made(wire)  # type: ignore[arg-type]
            if happens == "paused":
                connection.pause_writing()
            connection.data_received(REQUEST)
            if happens == "lost":
                connection.connection_lost(None)
            for _ in range(20):
                await asyncio.sleep(0)
            if happens == "paused":
                assert wire.written == b""
                connection.resume_writing()
                for _ in range(20):
                    await asyncio.sleep(0)
            found.append(wire.written)
            if happens != "lost":
                connection.connection_lost(None)
        return found

    usual, paused, leaving, lost = asyncio.run(run())
    assert usual.startswith(b"HTTP/1.1 202 ")
    assert paused == usual
    assert (leaving.startswith(b"HTTP/1.1 202 "), b"connection: close\r\n" in leaving, lost) == (True, True, b"")
    assert written == [True, False, False, True]


def test_an_answer_keeps_nothing_of_its_request_alive() -> None:
    """A ring of references would be left to the garbage collector, at each request."""
    seen: list[weakref.ref[Request]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        seen.append(weakref.ref(request))
        await receive()
        assert write_answer(send, 202, [(b"content-length", b"0")], b"")

    async def run() -> None:
        connection = DatedConnection(uvicorn.Config(app, lifespan="off"), ServerState(), {}, serving=ServingSettings())
        connection.connection_made(Wire())  # type: ignore[arg-type]
        gc.disable()
        try:
            for _ in range(2):
                connection.data_received(REQUEST)
                cycle = weakref.ref(connection.cycle)
                for _ in range(5):
                    await asyncio.sleep(0)
            connection.data_received(REQUEST)
            assert (len(seen), cycle()) == (2, None)
            assert [request() for request in seen] == [None, None]
        finally:
            gc.enable()
        connection.connection_lost(None)

    asyncio.run(run())
