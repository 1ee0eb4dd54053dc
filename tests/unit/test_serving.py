"""How a service begins, lives and leaves: two ports, connections of some minutes, and an order to the end."""

import asyncio
import gc
import http.client
import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.server import ServerState

from services.connections import ABORT, BORN_AT, SHARE, ConnectionAge, DatedConnection
from services.leaving import Life
from services.server import Service, serve
from settings.groups.serving import ServingSettings
from tests.support.waiting import eventually
from tools.stack.machine.ports import HOST, free_ports


def _run(public: int, private: int, leaving_s: float) -> None:
    life = Life()

    async def readyz(_request: Request) -> Response:
        return PlainTextResponse("leaving" if life.is_leaving else "ready", 503 if life.is_leaving else 200)

    async def who(request: Request) -> Response:
        return PlainTextResponse(request.app.state.name)

    def app(name: str) -> Starlette:
        made = Starlette(routes=[Route("/readyz", readyz), Route("/who", who)])
        made.state.name = name
        return made

    serve(
        Service(app("public"), app("private"), life),
        ServingSettings(port=public, private_port=private, leaving_s=leaving_s),
    )


@contextmanager
def running(leaving_s: float) -> Iterator[tuple[int, int, Any]]:
    public, private = free_ports(("public", "private")).values()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(public, private, leaving_s))
    process.start()
    try:
        assert eventually(lambda: _get(public, "/readyz") == (200, "ready") and _get(private, "/readyz")[0] == 200)
        yield public, private, process
    finally:
        process.kill()
        process.join()


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def test_it_leaves_in_order() -> None:
    """Not ready first, then it goes on serving and closes connections, then it ends; nobody is cut off."""
    with running(leaving_s=60.0) as (public, private, process):
        assert (_get(public, "/who"), _get(private, "/who")) == ((200, "public"), (200, "private"))
        kept = http.client.HTTPConnection(HOST, public, timeout=5)
        kept.request("GET", "/who")
        first = kept.getresponse()
        assert (first.read(), first.headers["connection"]) == (b"public", None)
        os.kill(process.pid, signal.SIGTERM)
        assert eventually(lambda: _get(public, "/readyz") == (503, "leaving"))
        kept.request("GET", "/who")
        second = kept.getresponse()
        assert (second.read(), second.headers["connection"]) == (b"public", "close")
        assert _get(private, "/who") == (200, "private")
        # A second signal ends the wait.
        os.kill(process.pid, signal.SIGTERM)
        process.join(20)
        assert process.exitcode == 0


def test_a_port_that_is_taken_ends_the_process_with_an_error() -> None:
    with running(leaving_s=0.0) as (public, _private, _process):
        (own,) = free_ports(("own",)).values()
        other = multiprocessing.get_context("spawn").Process(target=_run, args=(own, public, 0.0))
        other.start()
        other.join(30)
        assert other.exitcode not in (0, None)


@pytest.mark.parametrize(
    ("age_s", "share", "is_closed"),
    [(0.0, 1.0, False), (269.0, 0.9, False), (271.0, 0.9, True), (329.0, 1.1, False), (331.0, 1.1, True)],
)
def test_a_connection_ends_after_its_own_share_of_the_usual_age(age_s: float, share: float, is_closed: bool) -> None:
    sent = _headers({"state": {BORN_AT: time.monotonic() - age_s, SHARE: share}}, Life())
    assert ((b"connection", b"close") in sent) is is_closed


def test_a_connection_that_does_not_read_can_be_closed_without_waiting_and_is_not_kept_for_that() -> None:
    loop = asyncio.new_event_loop()
    connection = DatedConnection(uvicorn.Config(lambda: None), ServerState(), {}, serving=ServingSettings(), _loop=loop)
    aborted = []
    connection.transport = SimpleNamespace(abort=lambda: aborted.append(True))  # type: ignore[assignment]
    abort = connection.app_state[ABORT]
    abort()
    assert aborted == [True]
    of = weakref.ref(connection)
    del connection
    gc.collect()
    assert of() is None
    abort()
    assert aborted == [True]
    loop.close()


def test_connections_that_begin_together_do_not_end_together() -> None:
    config = uvicorn.Config(lambda: None)
    shares = set()
    for _ in range(50):
        connection = DatedConnection(
            config, ServerState(), {}, serving=ServingSettings(), _loop=asyncio.new_event_loop()
        )
        shares.add(connection.app_state[SHARE])
        connection.loop.close()
    assert len(shares) > 40
    assert all(0.9 <= share <= 1.1 for share in shares)


def _headers(scope: dict[str, Any], life: Life) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {}

    async def send(message: Any) -> None:
        found.extend(message["headers"])

    asyncio.run(ConnectionAge(app, age_s=300.0, life=life)({"type": "http", **scope}, receive, send))
    return found
