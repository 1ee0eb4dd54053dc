"""Counters of events that only grow: how much they gained lately, and how fast. Pure: time is an argument."""

from collections import deque
from dataclasses import astuple, dataclass
from typing import Self

WINDOW_S = 300.0


@dataclass(frozen=True)
class Counters:
    """Events since the demo began. The demo's clients count `sent`, `accepted` and `refused`, the ledger the others."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    received: int = 0
    counted: int = 0
    duplicate: int = 0
    late: int = 0
    invalid: int = 0
    dead_lettered: int = 0
    blocked: int = 0

    def minus(self, other: Self) -> Self:
        """The difference, field by field."""
        return type(self)(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class CounterWindow:
    """The samples of the counters of the last `window_s` seconds, in order of time."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, Counters]] = deque()

    def add(self, now_s: float, counters: Counters) -> None:
        """Add a sample. `now_s` must never step back (time.monotonic())."""
        self._samples.append((now_s, counters))
        # One sample at or before the window's start stays, because the gain of the window begins with it.
        while len(self._samples) > 1 and self._samples[1][0] <= now_s - self._window_s:
            self._samples.popleft()

    def gained(self, last_s: float) -> Counters:
        """How much more the newest sample has than the one `last_s` seconds before it, or than the oldest."""
        if not self._samples:
            return Counters()
        return self._samples[-1][1].minus(self._before(last_s)[1])

    def per_second(self, last_s: float) -> dict[str, float]:
        """The gain of each counter per second over the last `last_s` seconds; zeros before the second sample."""
        gain = self.gained(last_s)
        elapsed_s = self._samples[-1][0] - self._before(last_s)[0] if self._samples else 0.0
        return {name: value / elapsed_s if elapsed_s > 0 else 0.0 for name, value in vars(gain).items()}

    def _before(self, last_s: float) -> tuple[float, Counters]:
        start_s = self._samples[-1][0] - last_s
        found = self._samples[0]
        for sample in self._samples:
            if sample[0] > start_s:
                break
            found = sample
        return found
