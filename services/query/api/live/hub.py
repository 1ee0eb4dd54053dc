"""Reads what anybody listens to, together and once a second, and tells all who listen. Knows no HTTP.

Two tasks run while anybody listens: one reads, and one tends the listeners, so that a slow store holds up neither
comments nor the end of a process.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from services.leaving import LEAVING, Life
from services.query.api.answers.live import LiveAway
from services.query.api.live.listener import Listener
from services.query.api.live.places import Places
from services.query.api.live.states import State, Subject
from services.query.api.texts import utc_text
from services.refused import RETRY_AFTER_S, RefusedError

LOG = structlog.get_logger("query")
EVERY_S = 1.0
# So many partitions are read at a time, and as many for those who have just come. If all listeners need more, each is
# read less often, and its events say so.
PARTITIONS_AT_ONCE = 500
TEND_S = 0.5
# Proxies and browsers take a silent connection for dead after 30 to 60 s.
COMMENT_S = 15.0
# Whoever takes so long to read one event is not there any more.
SLOW_S = 30.0
NO_KEY = "the key that listens is not valid any more"

# Reads each of these subjects, which is done every so many seconds. Gives its state, or why it cannot be read.
Read = Callable[[Sequence[Subject], int], Awaitable[Mapping[Subject, State | Exception]]]


class _Watched:
    """Something that is listened to."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.state: State | None = None
        self.read_at_s = 0.0
        self.read_at: datetime | None = None
        self.away: LiveAway | None = None


class Hub:
    """All who listen to a process. `cost` says how many partitions a subject is. `now` is the clock, in UTC."""

    def __init__(
        self,
        read: Read,
        cost: Callable[[Subject], int],
        *,
        listeners_max: int,
        life: Life,
        now: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        self._read = read
        self._cost = cost
        self._life = life
        self._now = now
        self._watched: dict[Subject, _Watched] = {}
        self._places = Places(listeners_max)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_new = asyncio.Event()
        self._next_s = 0.0
        # How long the last reading took: with a slow store there is less than one a second.
        self._took_s = 0.0
        Gauge("view_counts_query_listeners", "Open streams of live answers.", registry=registry).set_function(
            lambda: self._places.taken
        )
        self._dropped = Counter(
            "view_counts_query_listeners_dropped",
            "Streams that were closed because the client did not read.",
            registry=registry,
        )

    async def listen(self, subject: Subject, listener: Listener) -> None:
        """Begin to listen: the newest state is offered at once. Raises RefusedError, and what a reading raises."""
        if self._life.is_leaving:
            raise RefusedError(503, LEAVING, retry_after_s=RETRY_AFTER_S)
        self._places.take(listener.key)
        watched = self._watched.get(subject)
        if watched is None:
            watched = self._watched[subject] = _Watched()
        watched.listeners.add(listener)
        self._begin()
        try:
            if watched.state is None:
                self._is_new.set()
                await asyncio.shield(watched.first)
        except BaseException:
            self.leave(subject, listener)
            raise
        assert watched.state is not None
        listener.offer(watched.state, time.monotonic())
        if watched.away is not None:
            listener.tell_away(watched.away)

    def leave(self, subject: Subject, listener: Listener) -> None:
        """Listen no more."""
        watched = self._watched.get(subject)
        if watched is None or listener not in watched.listeners:
            return
        watched.listeners.remove(listener)
        self._places.give_back(listener.key)
        if not watched.listeners:
            del self._watched[subject]
        if not self._watched:
            self.stop()

    def stop(self) -> None:
        """Read no more until somebody listens."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def _begin(self) -> None:
        # If only one of them has ended, the streams of the other would be without numbers, or without an end.
        if not self._tasks or any(task.done() for task in self._tasks):
            self.stop()
            self._is_new = asyncio.Event()
            self._next_s = time.monotonic() + EVERY_S
            self._tasks = [asyncio.create_task(self._go_on_reading()), asyncio.create_task(self._tend())]

    # --- reading

    async def _go_on_reading(self) -> None:
        while True:
            try:
                await self._read_or_wait()
            # Without this task, all streams would go on without a number and without a word.
            except Exception:
                LOG.exception("live answers were not read")
                await asyncio.sleep(EVERY_S)

    async def _read_or_wait(self) -> None:
        self._is_new.clear()
        now_s = time.monotonic()
        fresh = [subject for subject, watched in self._watched.items() if watched.state is None]
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            # Each has a cut of its own: neither those who come all the time nor those who stay hold up the others.
            await self._read_some([*self._cut(self._known_oldest_first()), *self._cut(fresh)])
        elif fresh:
            await self._read_some(self._cut(fresh))
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._next_s - now_s):
                    await self._is_new.wait()

    def _known_oldest_first(self) -> list[Subject]:
        known = [
            (watched.read_at_s, subject) for subject, watched in self._watched.items() if watched.state is not None
        ]
        return [subject for _, subject in sorted(known, key=lambda one: one[0])]

    def _cut(self, subjects: Iterable[Subject]) -> list[Subject]:
        """As many of them as are read at a time; one at least, if there is one."""
        found: list[Subject] = []
        partitions = 0
        for subject in subjects:
            partitions += self._cost(subject)
            if found and partitions > PARTITIONS_AT_ONCE:
                break
            found.append(subject)
        return found

    def _every_s(self) -> int:
        partitions = sum(map(self._cost, self._watched))
        rounds = math.ceil(partitions / PARTITIONS_AT_ONCE)
        return max(1, math.ceil(rounds * max(EVERY_S, self._took_s)))

    async def _read_some(self, subjects: Sequence[Subject]) -> None:
        began_s, began = time.monotonic(), self._now()
        for subject in subjects:
            self._watched[subject].read_at_s = began_s
        found: Mapping[Subject, State | Exception]
        try:
            found = await self._read(subjects, self._every_s())
        # Whatever it is, all who listen are told.
        except Exception as error:
            found = dict.fromkeys(subjects, error)
        self._took_s = time.monotonic() - began_s
        for subject in subjects:
            watched = self._watched.get(subject)
            state = found[subject]
            if watched is None:
                continue
            if isinstance(state, Exception):
                self._tell_away(subject, watched, state)
            else:
                self._tell(watched, state, began)
        if not self._watched:
            self.stop()

    def _tell(self, watched: _Watched, state: State, began: datetime) -> None:
        if watched.state is None or watched.state.data != state.data:
            watched.state = state
        watched.read_at, watched.away = began, None
        if not watched.first.done():
            watched.first.set_result(None)
        now_s = time.monotonic()
        for listener in watched.listeners:
            listener.offer(watched.state, now_s)

    def _tell_away(self, subject: Subject, watched: _Watched, error: Exception) -> None:
        if watched.read_at is None:
            # Nobody has heard anything, and who waits gets this as an answer. The next who comes begins anew.
            del self._watched[subject]
            for listener in watched.listeners:
                self._places.give_back(listener.key)
            watched.listeners.clear()
            watched.first.set_exception(error)
            # It is seen, also when nobody waits any more.
            watched.first.exception()
            return
        if watched.away is None:
            LOG.warning("a live answer cannot be read", error=f"{type(error).__name__}: {error}")
            watched.away = LiveAway(_sentence(error), utc_text(watched.read_at))
        for listener in watched.listeners:
            listener.tell_away(watched.away)

    # --- tending

    async def _tend(self) -> None:
        while True:
            now_s = time.monotonic()
            for listener in [one for watched in self._watched.values() for one in watched.listeners]:
                try:
                    self._tend_one(listener, now_s)
                # The others are tended, and this one again.
                except Exception:
                    LOG.exception("a listener was not tended")
            await asyncio.sleep(TEND_S)

    def _tend_one(self, listener: Listener, now_s: float) -> None:
        since_s = listener.sending_since_s
        if since_s is not None and now_s - since_s > SLOW_S:
            self._dropped.inc()
            listener.end("too slow")
            listener.drop()
        elif self._life.is_leaving:
            listener.end(LEAVING)
        elif now_s - listener.heard_at_s >= COMMENT_S:
            listener.heard_at_s = now_s
            if listener.may_stay():
                listener.comment()
            else:
                listener.end(NO_KEY)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, ConnectionError) else "this cannot be read now"
