"""What questions cost, and what is refused when a caller asks too much or the process has too much to do. No server."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.access.caller import Caller
from services.limits.limiter import Limiter
from services.query import app as query_app
from services.query.api.budget import AtOnce, Budget, cost_of
from services.refused import RefusedError
from settings import LimitSettings, QuerySettings, Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.memory_buckets import Clock, MemoryBuckets
from tests.support.tables import Tables

LOCAL = "http://localhost"
LONG = "/v1/videos/A/series?granularity=minute&from=2026-03-14T08:00:00Z&to=2026-03-20T12:00:00Z"


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    made = full(empty_history(tmp_path))
    monkeypatch.setattr(query_app, "CountStore", lambda *_: made)
    return made


def client(**settings: Any) -> TestClient:
    made = Settings(query=QuerySettings(**settings), limits=LimitSettings(burst_ms=1000))
    return TestClient(query_app.build_service(made, lambda: NOW).public, base_url=LOCAL)


@pytest.mark.usefixtures("tables")
def test_a_question_is_one_and_a_long_one_costs_what_it_reads() -> None:
    asked = client(questions_per_s=100, cost_per_s=1000)
    first = asked.get("/v1/videos/A/views")
    assert first.headers["ratelimit-policy"] == '"questions";q=100;qu="requests";w=1, "cost";q=1000;qu="cost";w=1'
    assert first.headers["ratelimit"] == '"questions";r=99;t=1, "cost";r=999;t=1'
    long = asked.get(LONG).headers["ratelimit"]
    cost = 1000 - int(long.partition('"cost";r=')[2].partition(";")[0])
    # 6 days of minutes: each 100 points cost 1, and each day, beside the two questions; some has come back meanwhile.
    assert 60 <= cost <= 2 + 6 * 1440 // 100 + 8


@pytest.mark.usefixtures("tables")
def test_who_asks_too_much_is_told_when_to_come_back() -> None:
    asked = client(questions_per_s=0.5, cost_per_s=1000)
    assert asked.get("/v1/top").status_code == 200
    refused = asked.get("/v1/top")
    assert (refused.status_code, refused.headers["cache-control"]) == (429, "no-store")
    assert 1 <= int(refused.headers["retry-after"]) <= 4
    assert f"t={refused.headers['retry-after']}" in refused.headers["ratelimit"]
    assert "0.5 questions a second" in refused.json()["detail"]
    # Whoever asks whether the process is ready asks no question.
    assert asked.get("/readyz").status_code == asked.get("/healthz").status_code == 200


def test_what_costs_too_much_is_refused_before_it_is_read(tables: Tables) -> None:
    asked = client(questions_per_s=1000, cost_per_s=20)
    assert asked.get("/v1/videos/A/views").status_code == 200
    tables.asked.clear()
    assert asked.get(LONG).status_code == 429
    assert "minutes" not in tables.asked


@pytest.mark.usefixtures("tables")
def test_a_process_that_is_full_refuses_at_once_and_is_still_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = client(questions_at_once_max=1)
    inner: list[Any] = []
    read = Tables.top

    async def slowly(*arguments: Any, **named: Any) -> Any:
        # While this question is under way, others come.
        inner.append(await asyncio.to_thread(asked.get, "/v1/videos/A/views"))
        inner.append(await asyncio.to_thread(asked.get, "/readyz"))
        return await read(*arguments, **named)

    monkeypatch.setattr(Tables, "top", slowly)
    assert asked.get("/v1/top").status_code == 200
    assert [one.status_code for one in inner] == [503, 200]
    assert inner[0].headers["retry-after"] == "1"
    assert asked.get("/v1/videos/A/views").status_code == 200


def enter(at_once: AtOnce, stack: ExitStack, caller: str = "a") -> Any:
    return stack.enter_context(at_once.question(caller))


def test_questions_under_way_cost_no_more_than_the_process_can_do() -> None:
    at_once = AtOnce(10, 100)
    with ExitStack() as stack:
        # Alone it may cost what it wants, even in two steps.
        first = enter(at_once, stack)
        first(90)
        first(20)
        with pytest.raises(RefusedError, match="long questions") as refused:
            enter(at_once, stack, "b")(1)
        assert refused.value.status == 503
    assert (at_once.questions, at_once.cost) == (0, 0)


def test_one_caller_has_half_of_it() -> None:
    at_once = AtOnce(10, 100)
    with ExitStack() as stack:
        enter(at_once, stack, "a")(40)
        with pytest.raises(RefusedError, match="of this key"):
            enter(at_once, stack, "a")(20)
        enter(at_once, stack, "b")(50)
        # Cheap ones go on.
        enter(at_once, stack, "a")
        enter(at_once, stack, "c")
    assert (at_once.questions, at_once.cost, at_once._of_caller) == (0, 0, {})


def test_files_and_points_cost_more_than_nothing() -> None:
    assert cost_of() == cost_of(points=99) == 0
    assert cost_of(partitions=3, files=2, points=250) == 3 + 10 + 2


def budget(clock: Clock, **settings: Any) -> Budget:
    limiter = Limiter(MemoryBuckets(clock), processes=1, lease_s=0.1, callers_max=100, clock=clock)
    return Budget(Settings(query=QuerySettings(**settings), limits=LimitSettings(burst_ms=1000)), limiter)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_address_has_its_own_limit_under_a_publishable_key(clock: Clock) -> None:
    limits = budget(clock, questions_per_s=100, cost_per_s=100, address_questions_per_s=2, address_cost_per_s=100)
    caller = Caller("acme", key="abcdef", scope="pubread", is_publishable=True)

    async def ask(peer: str) -> None:
        with limits.question(caller, peer, ()) as purse:
            await purse.begin()

    async def run() -> None:
        for _ in range(2):
            await ask("10.0.0.1")
        with pytest.raises(RefusedError) as refused:
            await ask("10.0.0.1")
        assert refused.value.status == 429
        await ask("10.0.0.2")
        clock.now_s += 1
        await ask("10.0.0.1")

    asyncio.run(run())


def test_two_keys_and_two_services_have_buckets_of_their_own(clock: Clock) -> None:
    limits = budget(clock, questions_per_s=1, cost_per_s=100)

    async def run() -> None:
        for key in ("abcdef", "fedcba"):
            with limits.question(Caller("acme", key=key), None, ()) as purse:
                await purse.begin()

    asyncio.run(run())
    names = set(limits._limiter._held)
    assert names == {"query:key:abcdef", "query:key:fedcba"}
