"""The last events of a key over a real Redis: processes see each other's, lists have a bound, nothing fails without."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import RedisError
from redis.asyncio import Redis
from starlette.testclient import TestClient

from connectors.redis_client import redis_client
from services.access.caller import Caller
from services.ingest import app as ingest_app
from services.ingest.events import Terms
from services.ingest.recent.answers import BODIES_MAX, EVENTS_MAX, RecentEvent
from services.ingest.recent.notes import Notes
from services.ingest.recent.refusals import Refusals
from services.ingest.recent.shared import (
    EXPIRY_S,
    PREFIX,
    REFUSED_PREFIX,
    TURN_EVENTS_MAX,
    SharedRecent,
    bodies_together,
    together,
)
from services.ingest.recent.shown import newest
from services.ingest.taking import Packing, read
from services.refused import RefusedError
from settings import RedisSettings, Settings
from tests.support.ingest_writer import StartedWriter
from tests.support.valkey import Server, running_valkey
from tests.support.waiting import eventually
from tools.stack.machine.ports import HOST

NOW_MS = 1_767_225_600_000
OF = ("acme", "k1")
BACK_S = 30.0


def asked(server: Server, work: Callable[[Redis], Any]) -> Any:
    async def run() -> Any:
        client = redis_client(RedisSettings(host=HOST, port=server.port, timeout_ms=10_000))
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(run())


def note(notes: Notes, video: str, count: int, key: str = "k1", at_ms: int = NOW_MS) -> None:
    body = json.dumps({"events": [{"video_id": video, "viewer_id": "s3cret"}] * count}).encode()
    reading = read("application/json", body, Terms("acme"), Packing(at_ms, 16), unpacked_bytes_max=1 << 26)
    notes.note(Caller("acme", key), at_ms, reading.pack().packed, [], 0, ("application/json", body, []))


def last(notes: Notes) -> list[RecentEvent]:
    return newest(notes.of(OF), notes.process)


def test_processes_see_each_others_events_in_lists_with_a_bound(tmp_path: Path) -> None:
    async def work(client: Redis) -> None:
        one, other = Notes("p"), Notes("q")
        first, second = SharedRecent(client, one, Refusals("p")), SharedRecent(client, other, Refusals("q"))
        note(one, "A", 400)
        note(other, "B", 300, at_ms=NOW_MS + 1)
        await first.share()
        await second.share()
        # A second turn has nothing new.
        await second.share()
        found = await first.recent(OF)
        assert [event.video_id for event in found] == ["B"] * 300 + ["A"] * 200
        assert [event.index for event in found[:2]] == [299, 298]
        assert together(last(one), found) == together(last(other), found) == found
        name = f"{PREFIX}acme:k1"
        assert await client.llen(name) == EVENTS_MAX  # type: ignore[misc]
        assert 0 < await client.ttl(name) <= EXPIRY_S
        assert b"s3cret" not in b"".join(await client.lrange(name, 0, -1))  # type: ignore[misc]
        assert await first.recent(("acme", "k2")) == []
        # What another version wrote is passed over.
        await client.lpush(name, b"{}")  # type: ignore[misc]
        assert len(await first.recent(OF)) == EVENTS_MAX - 1

    with running_valkey(tmp_path) as server:
        asked(server, work)


def test_processes_see_each_others_refused_bodies_and_a_flood_is_one_a_turn(tmp_path: Path) -> None:
    async def work(client: Redis) -> None:
        caller = Caller("acme", "k1")
        one, other = Refusals("p"), Refusals("q")
        first, second = (SharedRecent(client, Notes(of), refusals) for of, refusals in (("p", one), ("q", other)))
        other.note(caller, NOW_MS - 1, RefusedError(415, "no such form"), 3)
        await second.share()
        for turn in range(BODIES_MAX + 2):
            for _ in range(100):
                one.note(caller, NOW_MS + turn, RefusedError(429, "wait"), None)
            await first.share()
            found = await second.refused(OF)
            assert (found[0].at, found[0].times, len(found)) == (NOW_MS + turn, 100, min(turn + 2, BODIES_MAX))
        assert bodies_together(one.of(OF), found) == found
        assert [body.process for body in bodies_together(other.of(OF), [])] == ["q"]
        name = f"{REFUSED_PREFIX}acme:k1"
        assert await client.llen(name) == BODIES_MAX  # type: ignore[misc]
        assert 0 < await client.ttl(name) <= EXPIRY_S

    with running_valkey(tmp_path) as server:
        asked(server, work)


def test_a_turn_has_a_bound_and_no_caller_is_left_out(tmp_path: Path) -> None:
    async def work(client: Redis) -> None:
        notes = Notes("p")
        shared = SharedRecent(client, notes, Refusals("p"))
        keys = [f"k{n}" for n in range(2 * TURN_EVENTS_MAX // EVENTS_MAX)]
        for key in keys:
            note(notes, "A", EVENTS_MAX, key)
        await shared.share()
        assert len(await client.keys(f"{PREFIX}*")) == len(keys) // 2
        note(notes, "A", EVENTS_MAX, keys[0])
        await shared.share()
        assert len(await client.keys(f"{PREFIX}*")) == len(keys)
        assert list(notes.waiting) == [("acme", keys[0])]

    with running_valkey(tmp_path) as server:
        asked(server, work)


def test_what_redis_did_not_take_is_shared_when_it_is_back(tmp_path: Path) -> None:
    async def work(client: Redis, server: Server) -> None:
        notes = Notes("p")
        shared = SharedRecent(client, notes, Refusals("p"))
        note(notes, "A", 1)
        server.kill()
        with pytest.raises((RedisError, OSError)):
            await shared.share()
        assert list(notes.waiting) == [OF]
        server.start()
        await shared.share()
        assert [event.video_id for event in await shared.recent(OF)] == ["A"]

    with running_valkey(tmp_path) as server:
        asked(server, lambda client: work(client, server))


def test_an_answer_names_the_process_only_while_redis_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_app, "EventWriter", StartedWriter)
    with running_valkey(tmp_path) as server:
        settings = Settings(redis=RedisSettings(host=HOST, port=server.port, timeout_ms=5000))
        services = [ingest_app.build_service(settings).public for _ in range(2)]
        one, other = (TestClient(app, base_url="http://localhost") for app in services)
        with one, other:
            assert one.post("/v1/events", json={"events": [{"video_id": "A"}]}).status_code == 202
            # The other process learns it in the background.
            assert eventually(lambda: len(other.get("/v1/recent").json()["events"]) == 1, BACK_S)
            assert one.post("/v1/events", content=b"[]").status_code == 415
            assert eventually(lambda: len(other.get("/v1/recent").json()["refused"]) == 1, BACK_S)
            assert other.get("/v1/recent").json() == one.get("/v1/recent").json()
            assert one.get("/v1/recent").json()["process"] is None
            server.kill()
            assert one.post("/v1/events", json={"events": [{"video_id": "B"}]}).status_code == 202
            alone = one.get("/v1/recent").json()
            assert [event["video_id"] for event in alone["events"]] == ["B", "A"]
            assert alone["process"] == alone["events"][0]["process"]
            assert other.get("/v1/recent").json()["events"] == []
