"""Token buckets never give more than rate and burst allow, whoever leases how much and when, and waste little."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.limits.buckets import Amount, Bucket, Buckets, Limits, Rate
from services.limits.limiter import Limiter
from tests.support.memory_buckets import Clock, MemoryBuckets

LIMITS = Limits(Rate(100.0, 200.0), Rate(5000.0, 10_000.0))
LEASE_S = 0.1
NEAR = 1e-6

gaps_s = st.floats(0, 3) | st.just(0.0)
amounts = st.builds(Amount, st.integers(0, 400).map(float), st.integers(0, 30_000).map(float))


def most(rate: Rate, seconds: float, largest: float) -> float:
    return rate.per_s * seconds + max(rate.burst, largest) + NEAR


@given(st.lists(st.tuples(gaps_s, amounts, amounts), min_size=1, max_size=40))
def test_no_stretch_of_time_gets_more_than_its_rate_and_one_burst(steps: list[tuple[float, Amount, Amount]]) -> None:
    buckets = Buckets(LIMITS)
    now_s = 50.0
    taken: list[tuple[float, Amount]] = []
    for gap_s, need, more in steps:
        now_s += gap_s
        lease = buckets.lease(need, need.plus(more), now_s)
        assert (lease.wait_s > 0) == (lease.given == Amount() and need != Amount() and not lease.given.covers(need))
        if lease.wait_s == 0:
            assert lease.given.covers(need)
            assert need.plus(more).covers(lease.given)
        taken.append((now_s, lease.given))
    for first in range(len(taken)):
        part = taken[first:]
        seconds = part[-1][0] - part[0][0]
        events = [amount.events for _, amount in part]
        of_bytes = [amount.bytes for _, amount in part]
        assert sum(events) <= most(LIMITS.events, seconds, max(events))
        assert sum(of_bytes) <= most(LIMITS.bytes, seconds, max(of_bytes))


@given(st.lists(amounts, max_size=10), amounts)
def test_whoever_waits_as_long_as_was_said_is_let_in(before: list[Amount], need: Amount) -> None:
    buckets = Buckets(LIMITS)
    for amount in before:
        buckets.lease(amount, amount, 0.0)
    wait_s = buckets.lease(need, need, 0.0).wait_s
    if wait_s > 0:
        for _ in range(3):
            # A refusal costs nothing.
            assert buckets.lease(need, need, wait_s / 2).wait_s > 0
        assert buckets.lease(need, need, wait_s + NEAR).wait_s == 0


@given(amounts, st.floats(0, 1))
def test_a_request_that_pays_in_two_parts_needs_no_more_than_in_one(whole: Amount, first: float) -> None:
    """Else a body larger than the burst, which pays first for what it declares, would never be taken."""
    buckets = Buckets(LIMITS)
    paid = Amount(min(whole.events * first, 200), min(whole.bytes * first, 10_000))
    assert buckets.lease(paid, paid, 0.0).wait_s == 0
    rest = paid.lack(whole)
    assert buckets.lease(rest, rest, 0.0, paid).wait_s < NEAR


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    bucket = Bucket(Rate(10.0, 20.0))
    bucket.give(20, 20, 100.0)
    assert bucket.left(90.0) == 0
    bucket.give(0, 0, 90.0)
    assert bucket.left(91.0) == 10


def limiter(shared: MemoryBuckets, clock: Clock, processes: int, callers_max: int = 100) -> Limiter:
    return Limiter(shared, processes=processes, lease_s=LEASE_S, callers_max=callers_max, clock=clock)


async def settled(limiters: Sequence[Limiter]) -> None:
    """Let what runs in the background come to its end; nothing here waits for anything else."""
    while any(one._tasks for one in limiters):
        await asyncio.sleep(0)


@given(
    st.lists(st.tuples(gaps_s, st.integers(0, 2), st.integers(1, 300), st.integers(0, 15_000)), min_size=1, max_size=60)
)
def test_processes_together_give_no_more_than_the_buckets(steps: list[tuple[float, int, int, int]]) -> None:
    async def run() -> None:
        clock = Clock()
        shared = MemoryBuckets(clock)
        limiters = [limiter(shared, clock, 3) for _ in range(3)]
        granted = Amount()
        largest = Amount()
        for gap_s, process, events, of_bytes in steps:
            clock.now_s += gap_s
            need = Amount(float(events), float(of_bytes))
            verdict = await limiters[process].take("key", LIMITS, need)
            if verdict.wait_s == 0:
                granted = granted.plus(need)
                largest = Amount(max(largest.events, need.events), max(largest.bytes, need.bytes))
            await settled(limiters)
        seconds = clock.now_s - 1000.0
        assert granted.events <= most(LIMITS.events, seconds, largest.events)
        assert granted.bytes <= most(LIMITS.bytes, seconds, largest.bytes)
        # What was leased and not used is a block, so that so much at most is lost with a process.
        block = Amount(LIMITS.events.per_s * LEASE_S + NEAR, LIMITS.bytes.per_s * LEASE_S + NEAR)
        for one in limiters:
            for held in one._held.values():
                assert block.covers(held.tokens)
                assert held.tokens.covers(Amount(-NEAR, -NEAR))

    asyncio.run(run())


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("events", [1, 7, 150])
def test_a_caller_who_always_asks_gets_nearly_all_of_its_rate(processes: int, events: int) -> None:
    async def run() -> tuple[float, int]:
        clock = Clock()
        shared = MemoryBuckets(clock)
        limiters = [limiter(shared, clock, processes) for _ in range(processes)]
        granted = 0.0
        for step in range(20_000):
            clock.now_s += 0.002
            verdict = await limiters[step % processes].take("key", LIMITS, Amount(float(events), 1.0))
            granted += events if verdict.wait_s == 0 else 0
            await settled(limiters)
        return granted, len(shared.leases)

    granted, leases = asyncio.run(run())
    assert 0.95 * 40 * 100 <= granted <= 40 * 100 + 200
    # However often it is asked, a process asks Redis a few times in the time of a block: when the door opens, in the
    # background, and for what has come meanwhile, until there is nothing and the door is closed.
    assert leases <= 40 * processes * 5 / LEASE_S


def test_a_request_that_the_lease_covers_asks_nobody() -> None:
    async def run() -> None:
        clock = Clock()
        shared = MemoryBuckets(clock)
        one = limiter(shared, clock, 1)
        await one.take("key", LIMITS, Amount(1.0, 1.0))
        shared.is_away = True
        for _ in range(9):
            # The background asks and finds nobody; the request itself is let in by what was leased before.
            assert (await one.take("key", LIMITS, Amount(1.0, 1.0))).wait_s == 0
        await one.close()

    asyncio.run(run())


def test_refusals_ask_nobody_until_their_wait_is_over() -> None:
    async def run() -> None:
        clock = Clock()
        shared = MemoryBuckets(clock)
        one = limiter(shared, clock, 1)
        assert (await one.take("key", LIMITS, Amount(200.0, 0.0))).wait_s == 0
        await settled([one])
        refused = await one.take("key", LIMITS, Amount(100.0, 0.0))
        assert refused.wait_s > 0.8
        leases = len(shared.leases)
        for _ in range(100):
            assert (await one.take("key", LIMITS, Amount(1.0, 0.0))).wait_s > 0
        assert len(shared.leases) == leases
        # Others are not held up by it.
        assert (await one.take("other", LIMITS, Amount(1.0, 0.0))).wait_s == 0
        await settled([one])
        for before, after in pairwise([0.0, refused.wait_s + NEAR]):
            clock.now_s += after - before
        assert (await one.take("key", LIMITS, Amount(100.0, 0.0))).wait_s == 0

    asyncio.run(run())


def test_alone_a_process_gives_its_share() -> None:
    async def run() -> None:
        clock = Clock()
        shared = MemoryBuckets(clock)
        shared.is_away = True
        heard: list[bool] = []
        one = Limiter(shared, processes=4, lease_s=LEASE_S, callers_max=9, clock=clock, heard=heard.append)
        granted = 0
        for _ in range(10_000):
            granted += (await one.take("key", LIMITS, Amount(1.0, 0.0))).wait_s == 0
            clock.now_s += 0.01
        await one.close()
        # A quarter of the rate, and of the burst.
        assert 0.95 * 100 * 25 <= granted <= 100 * 25 + 50
        assert heard == [True, False]
        assert one.is_alone

    asyncio.run(run())


def test_without_redis_on_purpose_nothing_is_away() -> None:
    async def run() -> None:
        heard: list[bool] = []
        one = Limiter(None, processes=1, lease_s=LEASE_S, callers_max=9, clock=Clock(), heard=heard.append)
        assert (await one.take("key", LIMITS, Amount(200.0, 0.0))).wait_s == 0
        assert (await one.take("key", LIMITS, Amount(1.0, 0.0))).wait_s > 0
        assert heard == [False]
        assert not one._tasks

    asyncio.run(run())


def test_the_number_of_callers_that_are_remembered_is_bounded() -> None:
    async def run() -> None:
        clock = Clock()
        shared = MemoryBuckets(clock)
        one = limiter(shared, clock, 1, callers_max=3)
        await one.take("a", LIMITS, Amount(200.0, 0.0))
        for name in ("b", "c", "a", "d", "e"):
            await one.take(name, LIMITS, Amount(1.0, 0.0))
        assert list(one._held) == ["a", "d", "e"]
        # Who was forgotten is not let in anew: the shared bucket knows.
        for name in "fgh":
            await one.take(name, LIMITS, Amount(1.0, 0.0))
        assert (await one.take("a", LIMITS, Amount(100.0, 0.0))).wait_s > 0
        await settled([one])

    asyncio.run(run())
