"""Writes that run while their caller goes on: one at a time for each key, and different keys at the same time."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future


class WriteBehind:
    """Runs at most one write of a key at a time. Not thread-safe: one thread must call it.

    Each write runs in a daemon thread of its own. The interpreter waits for the threads of a pool when it ends, and a
    process whose writes wait for an absent database must still be able to end.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Future[None]] = {}

    def submit(self, key: Hashable, write: Callable[[], None]) -> None:
        """Wait for the last write of this key, then begin this one. Raises the error of the last one, if it failed."""
        self.settle(key)
        outcome: Future[None] = Future()
        self._under_way[key] = outcome
        threading.Thread(target=_run, args=(write, outcome), name=f"write-behind {key}", daemon=True).start()

    def settle(self, key: Hashable) -> None:
        """Return when no write of this key runs. Raises the error of that write, if it failed."""
        outcome = self._under_way.pop(key, None)
        if outcome is not None:
            outcome.result()

    def settle_all(self) -> None:
        """Return when no write runs. Raises the error of the first that failed."""
        for key in list(self._under_way):
            self.settle(key)


def _run(write: Callable[[], None], outcome: Future[None]) -> None:
    try:
        write()
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(None)
