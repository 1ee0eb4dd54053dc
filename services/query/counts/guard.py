"""Asks one store: each call ends within a time-out, and while the store does not answer, calls fail at once.

After some failures in succession the breaker opens. Then a probe beside the callers asks again until the store answers.
So a store that hangs costs no caller a time-out but the first few, no caller is the probe, and no restart is needed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import structlog

from services.query.counts.breaker import Breaker

LOG = structlog.get_logger("query")
T = TypeVar("T")


class NoAnswerError(ConnectionError):
    """The store does not answer. The text says so in a sentence without a full stop."""


class Guard:
    """Stands before `store`, which is its name in sentences. At most `at_once` calls are under way; others wait.

    `failures` are the errors of calls which mean that the store does not answer. The probe is `probe`, or else the call
    that failed last. A call that is still under way after `timeout_s` is cancelled.
    """

    def __init__(
        self,
        store: str,
        breaker: Breaker,
        failures: tuple[type[Exception], ...],
        *,
        timeout_s: float,
        at_once: int,
        probe: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._failures = failures
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(at_once)
        self._probe = probe
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the store is known not to answer now."""
        return self._breaker.is_open

    def stop(self) -> None:
        """Ask no more."""
        if self._probing is not None:
            self._probing.cancel()

    async def ask(self, call: Callable[[], Awaitable[T]], slots: asyncio.Semaphore | None = None) -> T:
        """What the call returns. Raises NoAnswerError, and other errors of the call than `failures`.

        `slots` are turns of their own, for who may not wait for the others.
        """
        if self._breaker.is_open:
            raise NoAnswerError(f"{self._store} does not answer, and is asked again every few seconds")
        asked_s: float | None = None
        try:
            async with asyncio.timeout(self._timeout_s), slots or self._slots:
                asked_s = monotonic()
                found = await call()
        except TimeoutError as error:
            # Whoever waited for most of the time has given the store too little of it to be judged by.
            if asked_s is None or monotonic() - asked_s < self._timeout_s / 2:
                raise NoAnswerError(f"too many reads wait for {self._store}") from error
            self._failed(call, "no answer in time")
            raise NoAnswerError(f"{self._store} does not answer within {self._timeout_s:g} s") from error
        except self._failures as error:
            self._failed(call, str(error))
            raise NoAnswerError(f"{self._store} does not answer: {type(error.__cause__ or error).__name__}") from error
        self._breaker.succeeded()
        return found

    def _failed(self, call: Callable[[], Awaitable[object]], reason: str) -> None:
        LOG.warning("read failed", store=self._store, error=reason)
        self._breaker.failed(monotonic())
        if self._breaker.is_open and (self._probing is None or self._probing.done()):
            LOG.warning("store is left alone until it answers", store=self._store)
            self._probing = asyncio.create_task(self._ask_again(self._probe or call))

    async def _ask_again(self, probe: Callable[[], Awaitable[object]]) -> None:
        while self._breaker.is_open:
            await asyncio.sleep(self._breaker.pause_s(monotonic()))
            try:
                async with asyncio.timeout(self._timeout_s):
                    await probe()
            except Exception as error:
                # Any other error is an answer.
                if isinstance(error, (TimeoutError, *self._failures)):
                    self._breaker.failed(monotonic())
                else:
                    self._breaker.succeeded()
            else:
                self._breaker.succeeded()
        LOG.info("store answers again", store=self._store)
