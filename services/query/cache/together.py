"""Joins what is asked for one by one into few calls, since a store answers one question for many for little more.

While no call is under way, a question begins one at once. So nobody waits when there is little to do, and the busier a
process is, the more questions go together.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
V = TypeVar("V")


class Together(Generic[K, A, V]):
    """Asks `call` for values by key. What is asked for keys goes with them.

    At most `calls_max` calls are under way, each of at most `keys_max` keys. Whoever asks for a key that is asked for
    already waits for the same value. An error of a call is that of all its keys. A caller who is cancelled takes
    nothing from the others.
    """

    def __init__(
        self, call: Callable[[Mapping[K, A]], Awaitable[Mapping[K, V]]], *, keys_max: int, calls_max: int
    ) -> None:
        self._call = call
        self._keys_max = keys_max
        self._calls_max = calls_max
        self._waiting: dict[K, A] = {}
        self._futures: dict[K, asyncio.Future[V]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._is_due = False

    async def get(self, key: K, asked: A) -> V:
        """The value of a key."""
        return await asyncio.shield(self.begin(key, asked))

    def begin(self, key: K, asked: A) -> "asyncio.Future[V]":
        """Ask for the value of a key without waiting for it. The caller must not cancel the future."""
        future = self._futures.get(key)
        if future is not None:
            return future
        loop = asyncio.get_running_loop()
        future = self._futures[key] = loop.create_future()
        self._waiting[key] = asked
        if not self._is_due and len(self._calls) < self._calls_max:
            # Others who ask in the same turn of the loop go together.
            self._is_due = True
            loop.call_soon(self._next)
        return future

    def _next(self) -> None:
        self._is_due = False
        while self._waiting and len(self._calls) < self._calls_max:
            keys = list(itertools.islice(self._waiting, self._keys_max))
            task = asyncio.create_task(self._run({key: self._waiting.pop(key) for key in keys}))
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._calls.discard(task)
        self._next()

    async def _run(self, asked: Mapping[K, A]) -> None:
        try:
            found = await self._call(asked)
            values = [found[key] for key in asked]
        except asyncio.CancelledError:
            for key in asked:
                self._futures.pop(key).cancel()
            raise
        except Exception as error:
            for key in asked:
                future = self._futures.pop(key)
                future.set_exception(error)
                # If nobody waits for it, asyncio would complain that nobody has seen the error.
                future.exception()
        else:
            for key, value in zip(asked, values, strict=True):
                self._futures.pop(key).set_result(value)
