"""The rule of who is let in while the process is behind, and the bounds of connections that go before it."""

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from services import connections
from services.connections import REFUSALS_AT_ONCE_MAX, DatedConnection
from services.door import REFUSED, Begins, Door
from services.ingest import app as ingest_app
from services.loop_turns import Turns
from services.overload import AGAIN_SHARE, COST_S, HASTY_S, LAGS, LATE_S, MEASURED_MIN, WAITING_MIN, Overload, Visitor
from services.refused import RETRY_AFTER_S
from settings import Settings
from settings.groups.serving import ServingSettings
from tests.support.ingest_writer import FakeWriter
from tests.support.wires import Wire

HEAD = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n"
POST = HEAD + b"\r\n{}"
# So many wait for exactly the bound.
BOUND = 40
AGAIN = int(BOUND * AGAIN_SHARE)


def rule() -> Overload:
    return Overload(BOUND * COST_S)


def let_in(overload: Overload, count: int) -> None:
    assert [overload.admits(Visitor(), 0.0) for _ in range(count)] == [True] * count


def test_requests_are_let_in_up_to_the_bound_of_delay_and_again_when_few_wait() -> None:
    overload = rule()
    let_in(overload, BOUND + 1)
    assert overload.delay_s > BOUND * COST_S
    assert not overload.admits(Visitor(), 0.0)
    for _ in range(BOUND - AGAIN):
        assert not overload.admits(Visitor(), 0.0)
        overload.begun()
    overload.begun()
    assert overload.waiting == AGAIN
    let_in(overload, BOUND + 1 - AGAIN)
    assert not overload.admits(Visitor(), 0.0)


def test_who_comes_back_too_early_is_let_in_only_while_the_wait_is_short() -> None:
    overload = rule()
    let_in(overload, BOUND + 1)
    polite, hasty = Visitor(), Visitor()
    assert not overload.admits(polite, 0.0)
    assert not overload.admits(hasty, 0.0)
    for _ in range(BOUND + 1 - AGAIN):
        overload.begun()
    assert not overload.admits(hasty, RETRY_AFTER_S / 2)
    assert overload.admits(polite, RETRY_AFTER_S)
    while overload.waiting >= WAITING_MIN:
        overload.begun()
    assert overload.admits(hasty, RETRY_AFTER_S)


def test_haste_is_forgotten() -> None:
    overload = rule()
    let_in(overload, BOUND + 1)
    hasty = Visitor()
    assert [overload.admits(hasty, at_s) for at_s in (0.0, 0.1)] == [False, False]
    for _ in range(BOUND + 1 - AGAIN):
        overload.begun()
    assert not overload.admits(hasty, HASTY_S)
    assert overload.admits(hasty, 0.1 + HASTY_S + RETRY_AFTER_S + HASTY_S)


def test_some_are_let_in_whatever_they_seem_to_cost() -> None:
    overload = Overload(COST_S / 10)
    let_in(overload, WAITING_MIN)
    assert not overload.admits(Visitor(), 0.0)


def test_a_lag_that_stays_closes_the_door_and_a_burst_does_not() -> None:
    overload = rule()
    for at, lag_s in enumerate([9.0] * (LAGS - 1) + [0.0] + [9.0] * (LAGS - 1)):
        overload.sampled(lag_s, at, 0.0)
        let_in(overload, 1)
    overload.sampled(9.0, 100.0, 0.0)
    assert not overload.admits(Visitor(), 0.0)
    overload.sampled(0.0, 101.0, 0.0)
    let_in(overload, 1)


@pytest.mark.parametrize(("busy", "is_measured"), [(1.0, True), (0.1, False)])
def test_the_cost_of_a_request_is_measured_while_the_process_is_busy(busy: float, is_measured: bool) -> None:
    """What an idle process uses for itself is no cost of its few requests."""
    overload = rule()
    for second in range(80):
        overload.sampled(0.0, second, second * busy)
        for _ in range(MEASURED_MIN):
            let_in(overload, 1)
            overload.begun()
    assert (overload.cost_s == pytest.approx(1 / MEASURED_MIN)) is is_measured
    assert is_measured or overload.cost_s == COST_S


@pytest.mark.parametrize(("lag_s", "is_time_that_passes"), [(LATE_S, True), (LATE_S / 2, False)])
def test_while_the_loop_is_late_a_request_costs_the_time_that_passes(lag_s: float, is_time_that_passes: bool) -> None:
    """Others use the core as well: the process is never idle, and still has only half of the time."""
    overload = rule()
    for second in range(80):
        overload.sampled(lag_s, second, second * 0.6)
        for _ in range(MEASURED_MIN):
            let_in(overload, 1)
            overload.begun()
    cost_s = 1.0 if is_time_that_passes else 0.6
    assert overload.cost_s == pytest.approx(cost_s / MEASURED_MIN)


def test_while_requests_wait_all_the_time_one_costs_the_time_that_passes() -> None:
    overload = rule()
    let_in(overload, 1)
    for second in range(80):
        overload.sampled(0.0, second, second * 0.6)
        for _ in range(MEASURED_MIN):
            let_in(overload, 1)
            overload.begun()
    assert overload.cost_s == pytest.approx(1.0 / MEASURED_MIN)


# --- connections


class Peer:
    """Connections to a service that answers 202, and counts its requests. Call it within a loop."""

    def __init__(self, overload: Overload | None = None, **settings: Any) -> None:
        self.requests = 0
        self.refused = 0
        self.overload = rule() if overload is None else overload
        self.turns = Turns()
        self._door = Door(self.overload, self.turns, b'{"error":"behind"}', self._refuse)
        self._config = uvicorn.Config(Begins(self._app, self._door), lifespan="off")
        self._state = ServerState()
        self._serving = ServingSettings(**settings)

    def connect(self) -> tuple[DatedConnection, Wire]:
        wire = Wire()
        connection = DatedConnection(self._config, self._state, {}, serving=self._serving, door=self._door)
        connection.connection_made(wire)  # type: ignore[arg-type]
        return connection, wire

    def fill(self) -> None:
        """Let in as many as may wait."""
        while self.overload.admits(Visitor(), 0.0):
            pass

    def _refuse(self) -> None:
        self.refused += 1

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        self.requests += 1
        status = 503 if REFUSED in scope["state"] else 202
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_request_that_is_refused_at_the_door_leaves_its_connection_open() -> None:
    async def run() -> None:
        peer = Peer()
        connection, wire = peer.connect()
        peer.fill()
        connection.data_received(HEAD + b"\r\n{")
        assert wire.written.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in wire.written
        assert wire.written.endswith(b'{"error":"behind"}')
        # The rest of the body comes after the answer, and then a request that is let in.
        connection.data_received(b"}")
        for _ in range(BOUND):
            peer.overload.begun()
        wire.written = b""
        connection.data_received(POST)
        await _turn()
        assert wire.written.startswith(b"HTTP/1.1 202 ")
        assert (peer.requests, peer.refused, wire.is_closed) == (1, 1, False)
        connection.connection_lost(None)

    asyncio.run(run())


def test_a_connection_that_ignores_a_refusal_is_not_read_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PAUSE_S", 0.01)

    async def run() -> None:
        peer = Peer()
        peer.fill()
        (connection, wire), (gone, _) = peer.connect(), peer.connect()
        for one in (connection, gone):
            one.data_received(POST)
        assert (wire.is_paused, wire.written.count(b" 503 ")) == (False, 1)
        for one in (connection, gone):
            one.data_received(POST)
        assert (wire.is_paused, wire.written.count(b" 503 ")) == (True, 2)
        gone.connection_lost(None)
        async with asyncio.timeout(10):
            while wire.is_paused:
                await asyncio.sleep(0.001)
        connection.data_received(POST)
        assert (wire.is_paused, wire.is_closed) == (True, False)
        connection.connection_lost(None)

    asyncio.run(run())


@pytest.mark.parametrize("more", [0, 1])
def test_a_connection_that_is_refused_many_times_at_once_ends(more: int) -> None:
    async def run() -> None:
        peer = Peer()
        peer.fill()
        connection, wire = peer.connect()
        refusals = REFUSALS_AT_ONCE_MAX + more
        connection.data_received(POST * (refusals if more == 0 else 10 * refusals))
        assert (wire.written.count(b" 503 "), wire.is_closed) == (refusals, more == 1)
        assert wire.written.count(b"connection: close") == more
        connection.connection_lost(None)

    asyncio.run(run())


def test_each_request_that_is_let_in_is_heard_to_begin() -> None:
    async def run() -> None:
        peer = Peer()
        connection, wire = peer.connect()
        # The second comes before the first is answered.
        connection.data_received(POST + POST)
        assert peer.overload.waiting == 2
        await _turn()
        assert (peer.overload.waiting, peer.requests, wire.written.count(b" 202 ")) == (0, 2, 2)
        connection.connection_lost(None)

    asyncio.run(run())


@pytest.mark.parametrize("path", [b"http://[", b"/\xff"])
def test_what_is_let_in_and_never_begins_does_not_wait_for_ever(path: bytes) -> None:
    async def run() -> None:
        peer = Peer()
        connection, wire = peer.connect()
        connection.data_received(POST.replace(b"/v1/events", path))
        assert (peer.overload.waiting, wire.written[:13], wire.is_closed) == (0, b"HTTP/1.1 400 ", True)
        connection.connection_lost(None)
        gone, wire = peer.connect()
        gone.data_received(POST * 3)
        wire.close()
        gone.connection_lost(None)
        await _turn()
        assert (peer.overload.waiting, peer.requests) == (0, 1)

    asyncio.run(run())


def test_a_head_behind_a_large_body_is_no_large_head() -> None:
    async def run() -> None:
        peer = Peer(head_bytes_max=1024)
        connection, wire = peer.connect()
        big = HEAD.replace(b"length: 2", b"length: 5000") + b"\r\n" + b"x" * 5000
        connection.data_received(big[:100])
        connection.data_received(big[100:] + HEAD)
        connection.data_received(b"\r\n{}")
        await _turn()
        assert (wire.written.count(b" 202 "), wire.is_closed) == (2, False)
        connection.connection_lost(None)

    asyncio.run(run())


@pytest.mark.parametrize("drip", [b"\r\n", b"x"])
def test_an_answered_connection_on_which_something_drips_ends(drip: bytes) -> None:
    """Blank lines, or the rest of a body that nobody reads any more."""

    async def run() -> None:
        peer = Peer(head_timeout_s=0.05)
        connection, wire = peer.connect()
        connection.data_received(POST if drip == b"\r\n" else POST.replace(b"length: 2", b"length: 5000"))
        await _turn()
        assert b" 202 " in wire.written
        for _ in range(500):
            if not wire.is_closed:
                connection.data_received(drip)
            await asyncio.sleep(0.01)
            if wire.is_closed:
                break
        assert wire.is_closed
        connection.connection_lost(None)

    asyncio.run(run())


def test_questions_without_a_body_are_answered_whatever_waits() -> None:
    async def run() -> None:
        peer = Peer()
        peer.fill()
        connection, wire = peer.connect()
        connection.data_received(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await _turn()
        assert wire.written.startswith(b"HTTP/1.1 202 ")
        connection.connection_lost(None)

    asyncio.run(run())


def test_a_page_is_refused_by_the_application_which_knows_cors() -> None:
    async def run() -> None:
        peer = Peer()
        peer.fill()
        waiting = peer.overload.waiting
        connection, wire = peer.connect()
        connection.data_received(HEAD + b"origin: https://example.org\r\n\r\n{}")
        await _turn()
        assert (peer.requests, peer.overload.waiting, wire.written[:13]) == (1, waiting, b"HTTP/1.1 503 ")
        connection.connection_lost(None)

    asyncio.run(run())


def test_who_waits_for_100_continue_is_refused_without_a_body() -> None:
    async def run() -> None:
        peer = Peer()
        peer.fill()
        connection, wire = peer.connect()
        connection.data_received(HEAD + b"expect: 100-continue\r\n\r\n")
        assert (wire.written[:13], b"connection: close" in wire.written, wire.is_closed) == (
            b"HTTP/1.1 503 ",
            True,
            True,
        )
        connection.connection_lost(None)

    asyncio.run(run())


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"x: " + b"a" * 2000],
        [HEAD] + [b"x: %b\r\n" % (b"a" * 90)] * 12,
        [HEAD + b"x: " + b"a" * 2000 + b"\r\n\r\n{}"],
        [b"POST /" + b"a" * 2000],
    ],
)
def test_a_head_that_is_too_large_ends_the_connection(pieces: list[bytes]) -> None:
    async def run() -> None:
        peer = Peer(head_bytes_max=1024)
        connection, wire = peer.connect()
        for piece in pieces:
            connection.data_received(piece)
        await _turn()
        assert (wire.written[:13], wire.is_closed, peer.requests) == (b"HTTP/1.1 431 ", True, 0)
        connection.connection_lost(None)

    asyncio.run(run())


def test_a_large_body_behind_a_small_head_is_no_large_head() -> None:
    async def run() -> None:
        peer = Peer(head_bytes_max=1024)
        connection, wire = peer.connect()
        big = HEAD.replace(b"length: 2", b"length: 5000") + b"\r\n" + b"x" * 5000
        for sent in (big + big, big):
            connection.data_received(sent)
            await _turn()
        assert (wire.written.count(b" 202 "), wire.is_closed) == (3, False)
        connection.connection_lost(None)

    asyncio.run(run())


def test_fields_behind_a_body_in_chunks_are_not_kept() -> None:
    async def run() -> None:
        peer = Peer()
        connection, _wire = peer.connect()
        head = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
        connection.data_received(head + b"x: y\r\n" * 100 + b"\r\n")
        assert len(connection.headers) == 2
        await _turn()
        connection.connection_lost(None)

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"\r\n", HEAD, POST + HEAD])
def test_a_head_that_does_not_come_ends_the_connection(sent: bytes) -> None:
    async def run() -> None:
        peer = Peer(head_timeout_s=0.01)
        connection, wire = peer.connect()
        if sent:
            connection.data_received(sent)
        for _ in range(500):
            await asyncio.sleep(0.01)
            if wire.is_closed:
                break
        assert wire.is_closed
        connection.connection_lost(None)

    asyncio.run(run())


def test_a_connection_beyond_the_last_one_is_answered_and_closed() -> None:
    async def run() -> None:
        peer = Peer(connections_max=2)
        (first, kept), (second, _), (third, closed) = (peer.connect() for _ in range(3))
        assert (kept.is_closed, closed.is_closed, closed.written[:13]) == (False, True, b"HTTP/1.1 503 ")
        third.data_received(POST)
        third.connection_lost(None)
        first.connection_lost(None)
        fourth, taken = peer.connect()
        fourth.data_received(POST)
        await _turn()
        assert (taken.written[:13], peer.requests) == (b"HTTP/1.1 202 ", 1)
        for connection in (second, fourth):
            connection.connection_lost(None)

    asyncio.run(run())


def test_ingest_refuses_what_the_door_marks_before_it_looks_at_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_app, "EventWriter", FakeWriter)
    service = ingest_app.build_service(Settings())

    async def marked(scope: Any, receive: Any, send: Any) -> None:
        await service.public({**scope, "state": {REFUSED: True}}, receive, send)

    answer = TestClient(marked, base_url="http://localhost").post("/v1/events", content=b"{}")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["accepted"]) == (503, "1", 0)
    assert service.door is not None
    assert answer.json() == json.loads(service.door.body)
