"""Runs what waits for a store or a database in threads, beside what computes."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Beside:
    """So many calls at a time, and as many that wait: further ones are waited for, since each holds what it writes.

    What a call raises is raised by a later one of these methods, at the latest when the block ends.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._most = 2 * threads
        self._pending: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def run(self, work: Callable[..., object], *arguments: object) -> None:
        """Call it soon."""
        while len(self._pending) >= self._most:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(work, *arguments))

    def wait(self) -> None:
        """Until all of it is done."""
        while self._pending:
            self._pending.popleft().result()
