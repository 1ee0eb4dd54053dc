"""A background pool: threads for calls that wait for a store or a database while the caller computes."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Beside:
    """A pool of `threads` threads, to be used in a `with` block. One thread calls it.

    As many further calls may wait in its queue. If the queue is full, `run` blocks, because each call holds the data
    that it writes. An exception of a call is raised by a later `run` or `wait`, at the latest at the end of the block.
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
        """Call `work` in a thread of the pool. Blocks while too many calls wait. May raise an earlier call's error."""
        while len(self._pending) >= self._most:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(work, *arguments))

    def wait(self) -> None:
        """Return when all calls are done. Raises the error of the first that failed."""
        while self._pending:
            self._pending.popleft().result()
