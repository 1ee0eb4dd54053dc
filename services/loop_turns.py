"""Shares the event loop out among requests: so much work in each of the loop's turns, and the rest in later ones.

A turn of the loop runs all that is ready before it looks at timers and sockets again. Of a process that is behind, that
would be all requests that have come meanwhile, and everything else would wait for them. So a request asks here before
each longer stretch of work. Nobody waits while there is time in this turn. Those who wait are called in the order in
which they came, and requests that have begun before those that have not: so the former end sooner.

Belongs to one event loop. Knows neither HTTP nor events.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

# Work of requests begins for so long in one turn of the loop. The last stretch may end later.
TURN_S = 0.005
# So many are called for one turn at most. Whoever finds its time used up waits on, at the same place.
CALLED_MAX = 16


class _Place:
    """A place in a line, and what the one who stands there waits for."""

    __slots__ = ("called",)

    def __init__(self, called: asyncio.Future[None]) -> None:
        self.called = called


class Turns:
    """The turns of the running loop."""

    def __init__(self, turn_s: float = TURN_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._turn_s = turn_s
        self._clock = clock
        self._begun: deque[_Place] = deque()
        self._new: deque[_Place] = deque()
        # When the time of this turn is used up; None before anybody has used it.
        self._ends_at_s: float | None = None
        self._is_next_due = False

    async def begin(self) -> None:
        """Return when a new request may begin."""
        if self._begun or self._new or not self._has_time():
            await self._wait(self._new)

    async def go_on(self) -> None:
        """Return when a request that has begun may go on."""
        if self._begun or not self._has_time():
            await self._wait(self._begun)

    def _has_time(self) -> bool:
        now_s = self._clock()
        if self._ends_at_s is not None:
            return now_s < self._ends_at_s
        # The first of a turn has it, whatever the clock does.
        self._ends_at_s = now_s + self._turn_s
        self._call_next()
        return True

    async def _wait(self, line: deque[_Place]) -> None:
        loop = asyncio.get_running_loop()
        place = _Place(loop.create_future())
        line.append(place)
        self._call_next()
        try:
            await place.called
            while not self._has_time():
                place.called = loop.create_future()
                self._call_next()
                await place.called
        finally:
            # Whoever is called is the first of the line, unless somebody before it was cancelled.
            line.remove(place)

    def _call_next(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Begin a turn, and call those who may have it. They run in the next turn of the loop, and this after them."""
        self._ends_at_s = None
        self._is_next_due = False
        left = CALLED_MAX
        for line in (self._begun, self._new):
            for place in line:
                if left == 0:
                    break
                left -= 1
                if not place.called.done():
                    place.called.set_result(None)
        if left < CALLED_MAX:
            self._call_next()
