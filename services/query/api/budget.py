"""What a question costs, and whether its caller may have it now and the process can do it now. Knows no HTTP library.

A caller has two token buckets: of questions, and of their cost. Each question costs 1 before anything of it is read,
and what it costs beyond that is known once its parameters are: then it pays the rest, before its rows are read. What
all questions under way cost together is bounded too, so that a few dear ones hold up no cheap ones.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from services.access.caller import Caller
from services.limits.buckets import Amount, Limits, Rate
from services.limits.client_names import ClientNames
from services.limits.limiter import Limiter, Verdict
from services.refused import RETRY_AFTER_S, RefusedError
from settings import Settings

POLICY = "RateLimit-Policy"
LEFT = "RateLimit"
# A file of history costs as much as so many partitions of Cassandra, and so many points as one.
FILE_COST = 5
POINTS_OF_ONE = 100
_ONE = Amount(1.0, 1.0)
CACHED_MAX = 1024


def cost_of(*, partitions: int = 0, files: int = 0, points: int = 0) -> int:
    """What reading so much costs, beyond the 1 of every question."""
    return partitions + FILE_COST * files + points // POINTS_OF_ONE


class AtOnce:
    """The questions under way in a process, and what they cost together. Pure.

    One caller has at most half of the cost, and a question that costs more than there is goes on when it is alone.
    """

    def __init__(self, questions_max: int, cost_max: int) -> None:
        self._questions_max = questions_max
        self._cost_max = cost_max
        self.questions = 0
        self.cost = 0
        self._of_caller: dict[str, int] = {}

    @contextmanager
    def question(self, caller: str) -> Iterator[Callable[[int], None]]:
        """Let a question of this caller begin, and say that it costs so much more. Both raise RefusedError (503)."""
        if self.questions >= self._questions_max:
            raise _busy("this process answers as many questions as it can")
        self.questions += 1
        mine = 0

        def more(cost: int) -> None:
            nonlocal mine
            of_caller = self._of_caller.get(caller, 0)
            if self.cost > mine and self.cost + cost > self._cost_max:
                raise _busy("this process answers as many long questions as it can")
            if of_caller > mine and of_caller + cost > self._cost_max // 2:
                raise _busy("this process answers as many long questions of this key as it can")
            mine += cost
            self.cost += cost
            self._of_caller[caller] = of_caller + cost

        try:
            yield more
        finally:
            self.questions -= 1
            self.cost -= mine
            if mine:
                self._of_caller[caller] -= mine
                if not self._of_caller[caller]:
                    del self._of_caller[caller]


class Purse:
    """What one question may still cost. `headers` say what its caller has left."""

    def __init__(self, limiter: Limiter, scopes: Sequence[tuple[str, Limits]], more: Callable[[int], None]) -> None:
        self._limiter = limiter
        self._scopes = scopes
        self._more = more
        self.headers: dict[str, str] = {}

    async def begin(self) -> None:
        """Pay for one question. Raises RefusedError (429)."""
        await self._take(_ONE, Amount())

    async def pay(self, cost: int) -> None:
        """Pay what the question costs beyond that. Raises RefusedError (429, 503)."""
        if cost > 0:
            self._more(cost)
            await self._take(Amount(0.0, float(cost)), _ONE)

    async def _take(self, need: Amount, paid: Amount) -> None:
        for name, limits in self._scopes:
            verdict = await self._limiter.take(name, limits, need, paid)
            if verdict.wait_s > 0:
                retry_after_s = max(1, math.ceil(verdict.wait_s))
                raise RefusedError(
                    429,
                    f"whoever asks may ask {limits.events.per_s:g} questions a second that cost {limits.bytes.per_s:g} "
                    f"together, and has asked more; ask for less, or again after {retry_after_s} s",
                    retry_after_s=retry_after_s,
                    headers=_headers(verdict, retry_after_s),
                )
            self.headers = _headers(verdict, None)


class Budget:
    """The limits of all who ask one process."""

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        query = settings.query
        burst_s = settings.limits.burst_ms / 1000
        self._limiter = limiter
        self._of_key = _limits(query.questions_per_s, query.cost_per_s, burst_s)
        self._of_address = _limits(query.address_questions_per_s, query.address_cost_per_s, burst_s)
        self._at_once = AtOnce(query.questions_at_once_max, query.cost_at_once_max)
        self._clients = ClientNames(settings.access)
        self.address_header = self._clients.header

    @contextmanager
    def question(self, caller: Caller, peer: str | None, forwarded: Sequence[str]) -> Iterator[Purse]:
        """The purse of a question that begins now. Raises RefusedError (503) if too many are under way."""
        # Ingest has limits of the same key, in buckets of other names.
        name = f"query:project:{caller.project}" if caller.key is None else f"query:key:{caller.key}"
        scopes = [(name, self._of_key)]
        if caller.is_publishable:
            # First, so that a flood from one address uses up nothing of the key.
            address = self._clients.name(name, peer, forwarded)
            scopes.insert(0, (f"query:{address}", self._of_address))
        with self._at_once.question(scopes[0][0]) as more:
            yield Purse(self._limiter, scopes, more)


def _busy(reason: str) -> RefusedError:
    return RefusedError(503, f"{reason}; ask again after the wait", retry_after_s=RETRY_AFTER_S)


def _limits(questions_per_s: float, cost_per_s: float, burst_s: float) -> Limits:
    return Limits(Rate(questions_per_s, questions_per_s * burst_s), Rate(cost_per_s, cost_per_s * burst_s))


def _headers(verdict: Verdict, retry_after_s: int | None) -> dict[str, str]:
    policy, window_s = _policy(verdict.limits)
    after_s = retry_after_s or window_s
    questions, cost = max(0, int(verdict.left.events)), max(0, int(verdict.left.bytes))
    return {POLICY: policy, LEFT: f'"questions";r={questions};t={after_s}, "cost";r={cost};t={after_s}'}


@lru_cache(CACHED_MAX)
def _policy(limits: Limits) -> tuple[str, int]:
    """The header, and in how many seconds what was used comes back."""
    window_s = max(1, math.ceil(limits.events.burst / limits.events.per_s))
    questions, cost = max(1, int(limits.events.burst)), max(1, int(limits.bytes.burst))
    return f'"questions";q={questions};qu="requests";w={window_s}, "cost";q={cost};qu="cost";w={window_s}', window_s
