"""Writes that go on while their caller does other things: for each key one after the other, keys side by side."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor


class WriteBehind:
    """At most one write of a key is under way. Not thread-safe itself: one thread calls it."""

    def __init__(self, keys_max: int) -> None:
        """`keys_max`: how many keys there are at most, each of which may have a write under way."""
        self._threads = ThreadPoolExecutor(keys_max, thread_name_prefix="write-behind")
        self._under_way: dict[Hashable, Future[None]] = {}

    def submit(self, key: Hashable, write: Callable[[], None]) -> None:
        """Begin a write once the one before it of this key has ended. Raises what that one raised."""
        self.settle(key)
        self._under_way[key] = self._threads.submit(write)

    def settle(self, key: Hashable) -> None:
        """Return when no write of this key is under way. Raises what it raised."""
        write = self._under_way.pop(key, None)
        if write is not None:
            write.result()

    def close(self) -> None:
        """Let every write end."""
        self._threads.shutdown()
