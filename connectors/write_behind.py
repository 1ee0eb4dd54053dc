"""Writes that go on while their caller does other things: for each key one after the other, keys side by side."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future


class WriteBehind:
    """At most one write of a key is under way. Not thread-safe itself: one thread calls it.

    A write is a daemon thread of its own, not a pool's, which the interpreter would wait for: a process whose writes
    wait for an absent database must still be able to end.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Future[None]] = {}

    def submit(self, key: Hashable, write: Callable[[], None]) -> None:
        """Begin a write once the one before it of this key has ended. Raises what that one raised."""
        self.settle(key)
        outcome: Future[None] = Future()
        self._under_way[key] = outcome
        threading.Thread(target=_run, args=(write, outcome), name=f"write-behind {key}", daemon=True).start()

    def settle(self, key: Hashable) -> None:
        """Return when no write of this key is under way. Raises what it raised."""
        outcome = self._under_way.pop(key, None)
        if outcome is not None:
            outcome.result()

    def settle_all(self) -> None:
        """Return when no write is under way. Raises what the first of them raised that failed."""
        for key in list(self._under_way):
            self.settle(key)


def _run(write: Callable[[], None], outcome: Future[None]) -> None:
    try:
        write()
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(None)
