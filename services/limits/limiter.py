"""Says for each request whether its caller may have so many events and bytes now.

A process leases tokens from the shared buckets in blocks, so that most requests cost no round trip: one that the lease
covers is decided at once, and the next block is fetched in the background before the lease is used up. What a process
has leased was taken out of the shared bucket, so all processes together never give more than the buckets of
services.limits.buckets do, save that the last block of each process may be used at any time later.

Without Redis each process gives its share, limit / processes, from buckets of its own. It says so once, and looks for
Redis in the background: no request waits for a server that was away a moment ago.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import msgspec
import structlog
from redis import RedisError

from services.limits.buckets import NOTHING, Amount, Buckets, Limits
from services.limits.shared import SharedBuckets

LOG = structlog.get_logger("limits")
# How often a process looks whether Redis is back.
LOOK_S = 1.0
_PROBE = "probe"


class Verdict(msgspec.Struct, frozen=True):
    """Whether a request may go on. If `wait_s` is above 0 it may not, and may after that time.

    `left` is about what the caller can still have now.
    """

    limits: Limits
    left: Amount
    wait_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Held:
    """What this process holds for one caller."""

    limits: Limits
    own: Buckets
    # With less than this, the next block is fetched in the background.
    low: Amount
    tokens: Amount = field(default_factory=Amount)
    # What the shared buckets had after the last lease.
    shared_left: Amount = field(default_factory=Amount)
    # Nobody is let in before this time: the wait of the last refusal.
    closed_until_s: float = 0.0
    # When the shared buckets were nearly empty, they are not asked in the background before this time.
    refill_after_s: float = 0.0
    is_refilling: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limiter:
    """The limits of all callers in one process. It belongs to one event loop.

    `shared` is None if there is no Redis on purpose. `heard(is_shared)` is called when that changes.
    """

    def __init__(
        self,
        shared: SharedBuckets | None,
        *,
        processes: int,
        lease_s: float,
        callers_max: int,
        clock: Callable[[], float],
        heard: Callable[[bool], None] = lambda _is_shared: None,
    ) -> None:
        self._shared = shared
        self._processes = processes
        self._lease_s = lease_s
        self._callers_max = callers_max
        self._clock = clock
        self._heard = heard
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_alone = shared is None
        heard(not self._is_alone)

    @property
    def is_alone(self) -> bool:
        """Whether this process gives its own share, because there is no Redis or it does not answer."""
        return self._is_alone

    async def take(self, name: str, limits: Limits, need: Amount, paid: Amount = NOTHING) -> Verdict:
        """Take what a request needs from the buckets of this name, or say how long to wait. Raises nothing.

        `paid` is what was taken for the same request before.
        """
        held = self._of(name, limits)
        if (refused := self._closed(held)) is not None:
            return refused
        if self._is_alone:
            return self._take_alone(held, need, paid)
        if not held.tokens.covers(need):
            # Others who wait here for the same lease find their need covered by it.
            async with held.lock:
                if (refused := self._closed(held)) is not None:
                    return refused
                if not self.is_alone and not held.tokens.covers(need):
                    await self._lease(name, held, need, paid)
                if (refused := self._closed(held)) is not None:
                    return refused
                if self.is_alone:
                    return self._take_alone(held, need, paid)
        held.tokens = held.tokens.minus(need)
        if not held.tokens.covers(held.low) and not held.is_refilling and self._clock() >= held.refill_after_s:
            held.is_refilling = True
            self._begin(self._refill(name, held))
        return Verdict(limits, held.tokens.plus(held.shared_left))

    async def close(self) -> None:
        """End what runs in the background. Tokens that are left are lost: a block for each caller at most."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, name: str, limits: Limits) -> _Held:
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = _Held(limits, Buckets(limits.share(self._processes)), self._block(limits).half())
            # Whoever was not heard of for the longest time is forgotten, with at most a block of tokens.
            while len(self._held) > self._callers_max:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(name)
        if held.limits != limits:
            held.limits, held.own, held.closed_until_s = limits, Buckets(limits.share(self._processes)), 0.0
            held.low = self._block(limits).half()
        return held

    def _closed(self, held: _Held) -> Verdict | None:
        """A refusal if the wait that the last refusal named is not over: nobody else is let in before, either.

        Otherwise a caller who ignores refusals would have each body read and parsed, and only then refused.
        """
        wait_s = held.closed_until_s - self._clock()
        return Verdict(held.limits, Amount(), wait_s) if wait_s > 0 else None

    def _take_alone(self, held: _Held, need: Amount, paid: Amount) -> Verdict:
        now_s = self._clock()
        lease = held.own.lease(need, need, now_s, paid)
        if lease.wait_s > 0:
            held.closed_until_s = now_s + lease.wait_s
        return Verdict(held.limits, lease.left, lease.wait_s)

    def _block(self, limits: Limits) -> Amount:
        return Amount(limits.events.per_s * self._lease_s, limits.bytes.per_s * self._lease_s)

    async def _lease(self, name: str, held: _Held, need: Amount, paid: Amount) -> None:
        """Fetch what is missing for the need and for a block beyond it.

        If the need is not there, the caller's door is closed until it is.
        """
        assert self._shared is not None
        block = self._block(held.limits)
        missing, wanted = held.tokens.lack(need), held.tokens.lack(need.plus(block))
        try:
            lease = await self._shared.lease(name, held.limits, missing, wanted, paid)
        except (RedisError, OSError) as error:
            self._away(error)
            return
        held.tokens = held.tokens.plus(lease.given)
        held.shared_left = Amount(max(0.0, lease.left.events), max(0.0, lease.left.bytes))
        if lease.wait_s > 0:
            # For a block at least, so that a caller at its limit costs no round trip for each event.
            held.closed_until_s = self._clock() + max(lease.wait_s, self._lease_s)
        if not held.tokens.covers(block.half()):
            held.refill_after_s = self._clock() + self._lease_s

    async def _refill(self, name: str, held: _Held) -> None:
        try:
            async with held.lock:
                if not self._is_alone:
                    await self._lease(name, held, NOTHING, NOTHING)
        finally:
            held.is_refilling = False

    def _away(self, error: Exception) -> None:
        if self._is_alone:
            return
        self._is_alone = True
        self._heard(False)
        LOG.warning(
            "limits are not shared: redis does not answer, so this process gives its own share of each",
            processes=self._processes,
            error=f"{type(error).__name__}: {error}",
        )
        self._begin(self._look())

    async def _look(self) -> None:
        """Look for Redis until it answers, by the script that requests need, which must run."""
        assert self._shared is not None
        limits = next(iter(self._held.values())).limits
        while self._is_alone:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(RedisError, OSError):
                await self._shared.lease(_PROBE, limits, NOTHING, NOTHING)
                self._is_alone = False
        self._heard(True)
        LOG.info("limits are shared again: redis answers")

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
