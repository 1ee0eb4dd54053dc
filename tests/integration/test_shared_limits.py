"""Limits over a real Redis: its script is the rules' arithmetic, processes share, and nothing stops without it."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from connectors.redis_client import redis_client
from services.limits.buckets import Amount, Buckets, Limits, Rate
from services.limits.limiter import Limiter
from services.limits.shared import PREFIX, RedisBuckets
from settings import RedisSettings
from tests.support.valkey import Server, running_valkey

LIMITS = Limits(Rate(100.0, 200.0), Rate(5000.0, 10_000.0))
BACK_S = 30.0


def asked(server: Server, work: Callable[[Any], Any]) -> Any:
    async def run() -> Any:
        # A busy machine is no reason to go on without Redis here.
        client = redis_client(RedisSettings(port=server.port, timeout_ms=10_000))
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_the_script_is_the_arithmetic_of_the_rules(tmp_path: Path) -> None:
    async def work(client: Any) -> None:
        shared = RedisBuckets(client)
        r = random.Random(7)
        for name in ("a", "b", "c"):
            buckets = Buckets(LIMITS)
            now_s = 1_000_000.0
            for _ in range(300):
                now_s += r.choice([0.0, 0.001, 0.1, 1.0, -0.05]) * r.random()
                need = Amount(r.choice([0, 1, 50, 300]) * r.random(), r.choice([0, 10, 9000, 20_000]) * r.random())
                want = need.plus(Amount(r.random() * 20, r.random() * 1000))
                paid = Amount(r.choice([0, 1]), r.choice([0, 6000]))
                expected = buckets.lease(need, want, now_s, paid)
                found = await shared.lease(name, LIMITS, need, want, paid, now_s=now_s)
                assert found.wait_s == pytest.approx(expected.wait_s)
                for one, other in ((found.given, expected.given), (found.left, expected.left)):
                    assert (one.events, one.bytes) == pytest.approx((other.events, other.bytes), abs=1e-6)

    with running_valkey(tmp_path) as server:
        asked(server, work)


def test_buckets_are_gone_when_they_would_be_full(tmp_path: Path) -> None:
    async def work(client: Any) -> None:
        lease = await RedisBuckets(client).lease("key", LIMITS, Amount(100.0, 0.0), Amount(100.0, 0.0))
        assert lease.left.events == 100
        # 100 events come in a second, and there is a second of margin.
        assert 0 < await client.pttl(PREFIX + "key") <= 2000

    with running_valkey(tmp_path) as server:
        asked(server, work)


def test_processes_share_one_limit_and_go_on_without_redis(tmp_path: Path) -> None:
    async def taken(limiters: list[Limiter], name: str) -> float:
        """What all of them give at once."""
        granted = 0.0
        for turn in range(400):
            verdict = await limiters[turn % 2].take(name, LIMITS, Amount(1.0, 1.0))
            granted += verdict.wait_s == 0
        return granted

    async def work(client: Any) -> None:
        heard: list[bool] = []
        limiters = [
            Limiter(RedisBuckets(client), processes=2, lease_s=0.1, callers_max=9, clock=monotonic, heard=heard.append)
            for _ in range(2)
        ]
        begun_s = monotonic()
        granted = await taken(limiters, "key")
        assert 200 <= granted <= 200 + 100 * (monotonic() - begun_s)
        server.kill()
        for one in limiters:
            # Each has a share of its own, which is full, once what it has leased is used up.
            while not one.is_alone:
                await one.take("other", LIMITS, Amount(30.0, 0.0))
        assert heard == [True, True, False, False]
        begun_s = monotonic()
        assert 200 <= await taken(limiters, "new") <= 200 + 100 * (monotonic() - begun_s)
        server.start()
        while any(one.is_alone for one in limiters):
            assert monotonic() - begun_s < BACK_S
            await asyncio.sleep(0.05)
        assert heard[4:] == [True, True]
        for one in limiters:
            await one.close()

    with running_valkey(tmp_path) as server:
        asked(server, work)
