"""A request beyond its caller's limit is refused before its body is read, with what the caller needs to know."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.access.caller import Caller
from services.ingest import app as ingest_app
from services.ingest.limits import IngestLimits
from services.ingest.tally import IngestTally
from services.limits.limiter import Limiter
from services.refused import RefusedError
from settings import AccessSettings, LimitSettings, Settings
from tests.support.ingest_writer import FakeWriter, ingest_client, installed
from tests.support.memory_buckets import Clock, MemoryBuckets

# Nothing comes back within a test.
SLOW = LimitSettings(events_per_s=0.001, bytes_per_s=0.1, burst_ms=3_000_000)
BURST_EVENTS, BURST_BYTES = 3, 300


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    return installed(monkeypatch)


def client(limits: LimitSettings) -> TestClient:
    return ingest_client(Settings(limits=limits))


def body(events: int, padding: int = 0) -> bytes:
    return json.dumps({"events": [{"video_id": "A"}] * events}).encode() + b" " * padding


def post(asked: TestClient, content: Any, **headers: str) -> Any:
    return asked.post("/v1/events", content=content, headers={"content-type": "application/json", **headers})


def test_events_are_taken_up_to_the_burst_and_then_refused_with_how_long_to_wait(writer: FakeWriter) -> None:
    service = ingest_app.build_service(Settings(limits=SLOW))
    asked = TestClient(service.public, base_url="http://localhost")
    taken = post(asked, body(2))
    assert taken.status_code == 202
    assert taken.headers["ratelimit-policy"] == (
        f'"events";q={BURST_EVENTS};qu="events";w=3000, "bytes";q={BURST_BYTES};qu="content-bytes";w=3000'
    )
    assert taken.headers["ratelimit"].startswith('"events";r=1;t=3000, "bytes";r=')
    refused = post(asked, body(2))
    assert refused.status_code == 429
    # Two events are missing one, since the request itself took one before its body was read.
    assert 900 <= int(refused.headers["retry-after"]) <= 1000
    assert f"t={refused.headers['retry-after']}" in refused.headers["ratelimit"]
    assert "0.001 events" in refused.json()["error"]
    assert len(writer.written) == 1
    metrics = TestClient(service.private).get("/metrics").text.splitlines()
    assert {'view_counts_ingest_limited_total{scope="key"} 1.0', "view_counts_ingest_limits_shared 0.0"} <= set(metrics)


def test_a_body_that_is_refused_is_not_read(writer: FakeWriter) -> None:
    asked = client(SLOW)
    assert post(asked, body(1, padding=200)).status_code == 202
    asked_for: list[str] = []
    inner: Any = asked.app

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def receiving() -> Any:
            asked_for.append(scope["path"])
            return await receive()

        await inner(scope, receiving, send)

    assert post(TestClient(watched, base_url="http://localhost"), body(1)).status_code == 202
    assert asked_for
    asked_for.clear()
    assert post(TestClient(watched, base_url="http://localhost"), body(1, padding=200)).status_code == 429
    assert asked_for == []
    # Nor is a smaller one, which would find enough, before the wait is over.
    assert post(TestClient(watched, base_url="http://localhost"), body(1)).status_code == 429
    assert asked_for == []


def test_bytes_count_as_they_are_unpacked(writer: FakeWriter) -> None:
    asked = client(LimitSettings(events_per_s=1000, bytes_per_s=0.1, burst_ms=3_000_000))
    packed = gzip.compress(body(1, padding=200))
    assert len(packed) < 100
    assert post(asked, packed, **{"content-encoding": "gzip"}).status_code == 202
    # Less than a hundred bytes are left of 300.
    assert post(asked, packed, **{"content-encoding": "gzip"}).status_code == 429


def test_a_body_larger_than_the_burst_is_taken_when_all_is_there(writer: FakeWriter) -> None:
    asked = client(SLOW)
    assert post(asked, body(BURST_EVENTS + 4)).status_code == 202
    refused = post(asked, body(1))
    # It is in debt by four.
    assert (refused.status_code, int(refused.headers["retry-after"]) > 4900) == (429, True)
    # And one of which only its unpacked bytes are too many, or that does not say how long it is.
    packed = gzip.compress(body(1, padding=10 * BURST_BYTES))
    assert post(client(SLOW), packed, **{"content-encoding": "gzip"}).status_code == 202
    assert post(client(SLOW), iter([body(1, padding=10 * BURST_BYTES)])).status_code == 202


def test_rejected_events_and_dry_runs_count(writer: FakeWriter) -> None:
    asked = client(SLOW)
    events = {"events": [{"video_id": ""}] * BURST_EVENTS}
    assert asked.post("/v1/events?dry_run=true", json=events).status_code == 400
    assert post(asked, body(1)).status_code == 429


# --- scopes


def limits_of(settings: Settings, clock: Clock) -> IngestLimits:
    limiter = Limiter(MemoryBuckets(clock), processes=1, lease_s=0.1, callers_max=100, clock=clock)
    return IngestLimits(settings, limiter, IngestTally(10))


def outcomes(settings: Settings, requests: Sequence[tuple[Caller, str, tuple[str, ...]]]) -> list[str]:
    """What becomes of these requests of one event each: "taken", or whose limit has refused them."""

    async def run() -> list[str]:
        limits = limits_of(settings, Clock())
        found = []
        for caller, peer, forwarded in requests:
            try:
                await limits.admit(caller, declared_bytes=1, peer=peer, forwarded=forwarded)
                found.append("taken")
            except RefusedError as refused:
                found.append("address" if "client address" in refused.error else "key")
        return found

    return asyncio.run(run())


PUBLISHABLE = Caller("web", "pk", is_publishable=True)
TWO_EACH = LimitSettings(address_events_per_s=20, burst_ms=100)


def test_under_a_publishable_key_each_address_has_its_own_limit() -> None:
    settings = Settings(limits=TWO_EACH)
    one, other = "203.0.113.1", "203.0.113.2"
    requests = [(PUBLISHABLE, peer, ()) for peer in (one, one, one, other)]
    assert outcomes(settings, requests) == ["taken", "taken", "address", "taken"]
    # All of a /64 are one; a key that is not publishable has no limits by address.
    network = [(PUBLISHABLE, f"2001:db8::{n}", ()) for n in range(3)]
    assert outcomes(settings, network) == ["taken", "taken", "address"]
    secret = [(Caller("server", "sk"), one, ())] * 4
    assert outcomes(settings, secret) == ["taken"] * 4


def test_an_address_is_believed_from_trusted_proxies_alone() -> None:
    access = AccessSettings(client_address_header="X-Forwarded-For", trusted_proxies="10.0.0.0/8")
    settings = Settings(limits=TWO_EACH, access=access)
    invented = [(PUBLISHABLE, "203.0.113.1", (f"198.51.100.{n}",)) for n in range(3)]
    assert outcomes(settings, invented) == ["taken", "taken", "address"]
    behind = [(PUBLISHABLE, "10.0.0.1", (f"198.51.100.{n}",)) for n in range(3)]
    assert outcomes(settings, behind) == ["taken"] * 3
    before = [(PUBLISHABLE, "10.0.0.1", (f"198.51.100.{n}, 203.0.113.1",)) for n in range(3)]
    assert outcomes(settings, before) == ["taken", "taken", "address"]


def test_a_flood_from_one_address_uses_up_nothing_of_the_key() -> None:
    settings = Settings(limits=LimitSettings(address_events_per_s=20, burst_ms=100))
    key = Caller("web", "pk", events_per_s=60, is_publishable=True)
    flood = [(key, "203.0.113.1", ())] * 50
    others = [(key, f"203.0.113.{n}", ()) for n in range(2, 8)]
    # The key's burst is 6: two went to the flood.
    assert outcomes(settings, flood + others)[50:] == ["taken"] * 4 + ["key"] * 2


def test_a_key_with_limits_of_its_own_has_those() -> None:
    settings = Settings(limits=LimitSettings(burst_ms=100))
    slow = Caller("a", "k1", events_per_s=10)
    assert outcomes(settings, [(slow, "203.0.113.1", ())] * 2) == ["taken", "key"]
    # Keys of one project have limits of their own; without keys the project has one.
    assert outcomes(settings, [(slow, "203.0.113.1", ()), (Caller("a", "k2"), "203.0.113.1", ())]) == ["taken"] * 2
