"""Makes one call for all who ask for the same at the same time, so that a store is not asked by each of them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Calls by key. Whoever asks while a call of the same key is under way gets the result, or the error, of that one.

    A caller who is cancelled leaves the call to the others. What is found is not kept once the call has ended.
    """

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of `call`, or of the call of this key that is under way."""
        return await asyncio.shield(self.begin(key, call))

    def begin(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """The same, for who does not wait."""
        task = self._under_way.get(key)
        # A loop that has ended leaves its tasks here.
        if task is None or task.done():
            task = self._under_way[key] = asyncio.create_task(call())
            task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: K, done: "asyncio.Task[V]") -> None:
        if self._under_way.get(key) is done:
            del self._under_way[key]
        if not done.cancelled():
            # If nobody waits any more, nobody else would take the error from the task, and asyncio would complain.
            done.exception()
