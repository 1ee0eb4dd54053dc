"""One client that listens. It holds the newest state only, so that a slow client misses states and costs no memory."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from services.query.api.answers.live import End, LiveAway, Lowered
from services.query.api.live.states import Place, State, block

COMMENT = b": still here\n\n"
# Fewer views than the client knows, in the same revision of history, are a late replica or a process that is behind.
# If they stay for so long, they are the truth.
HOLD_S = 10.0
# Clients of a process that leaves come back when the balancer has noticed, and not all at once.
RETRY_MS = 3000, 6000
ENOUGH = "as many events as were asked for have been sent"
OF_HISTORY = "history has changed: a rollup, a repair or an erasure has counted these views again"
OF_TABLES = f"the tables have said so for {HOLD_S:g} seconds"


class Listener:
    """What is to be sent to a client. `said` is how far the last event was that it has, `events_max` when it ends.

    `key` is the public id of the key with which the client listens, None in open access.
    """

    def __init__(
        self,
        said: Place | None,
        *,
        now_s: float,
        key: str | None = None,
        may_stay: Callable[[], bool] = lambda: True,
        events_max: int | None = None,
    ) -> None:
        self.key = key
        self.may_stay = may_stay
        # Closes the connection without waiting for the client. Whoever sends sets it.
        self.drop: Callable[[], None] = lambda: None
        # Since when a block is on its way to the client; None if none is.
        self.sending_since_s: float | None = None
        self.heard_at_s = now_s
        self._said = said
        self._left = events_max
        self._newest: State | None = None
        self._offered: State | None = None
        self._away: LiveAway | None = None
        self._is_away_due = self._is_comment_due = False
        self._lower_since_s: float | None = None
        self._end: str | None = None
        self._wake = asyncio.Event()

    def offer(self, state: State, now_s: float) -> None:
        """Here is what was read now. It is sent if it is new, and not lower without a reason."""
        if state is self._offered and self._away is None:
            return
        known = self._newest.place if self._newest is not None else self._said
        if known is not None and state.place is not None and state.place < known:
            if self._lower_since_s is None:
                self._lower_since_s = now_s
            if now_s - self._lower_since_s < HOLD_S:
                return
        self._lower_since_s = None
        self._offered = self._newest = state
        self._away, self._is_away_due = None, False
        self._wake.set()

    def tell_away(self, away: LiveAway) -> None:
        """What is listened to cannot be read. This is said once, and the next state is sent in any case."""
        if self._away is None:
            self._away, self._is_away_due = away, True
            self._wake.set()

    def comment(self) -> None:
        """Send something, so that nobody on the way takes the connection for dead."""
        self._is_comment_due = True
        self._wake.set()

    def end(self, because: str) -> None:
        """Send a last event, and no more."""
        self._end = self._end or because
        self._wake.set()

    async def blocks(self) -> AsyncIterator[bytes]:
        """What to send, piece by piece, until the end."""
        while True:
            if self._newest is not None:
                state, self._newest = self._newest, None
                yield self._block(state)
                if self._left == 0:
                    self.end(ENOUGH)
            elif self._is_away_due and self._away is not None:
                self._is_away_due = False
                yield block("away", self._away)
            elif self._end is not None:
                yield block("end", End(self._end), retry_ms=None if self._end == ENOUGH else _spread())
                return
            elif self._is_comment_due:
                self._is_comment_due = False
                yield COMMENT
            else:
                self._wake.clear()
                await self._wake.wait()

    def _block(self, state: State) -> bytes:
        lowered, before = b"", self._said
        if before is not None and state.place is not None and state.place.views < before.views:
            because = OF_HISTORY if state.place.revision > before.revision else OF_TABLES
            lowered = block("lowered", Lowered(before.views, state.place.views, because))
        self._said = state.place
        if self._left is not None:
            self._left -= 1
        return lowered + block(state.name, state.data, event_id=state.id)


def _spread() -> int:
    return random.randint(*RETRY_MS)  # noqa: S311 - it spreads load, and hides nothing
