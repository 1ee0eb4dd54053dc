"""What the writes of one operator have met, for its metrics. Knows no Flink."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol


class Gauges(Protocol):
    """What a runtime's metric group has of it."""

    def gauge(self, name: str, obj: Callable[[], int]) -> None:
        """Show what `obj` returns under this name."""


class WriteFigures:
    """Thread-safe: writes go on beside the operator, which shows the figures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused = 0
        self._waiting = 0
        self._set_aside: Counter[str] = Counter()
        self._out: set[str] = set()

    def show(self, gauges: Gauges, optional: Iterable[str]) -> None:
        """As gauges; `optional` are the names of what counts do without.

        `refused_writes`: how often a write that must be made was refused; `waiting_writes`: those that wait now;
        `set_aside_NAME`: rows or records that were given up; `optional_out`: how many of the names take nothing now.
        """
        gauges.gauge("refused_writes", lambda: self.refused)
        gauges.gauge("waiting_writes", lambda: self.waiting)
        gauges.gauge("optional_out", lambda: len(self._out))
        for name in optional:
            gauges.gauge(f"set_aside_{name}", lambda name=name: self.set_aside(name))  # type: ignore[misc]

    @property
    def refused(self) -> int:
        """How often Cassandra refused a write that must be made."""
        return self._refused

    @property
    def waiting(self) -> int:
        """Writes that must be made and were refused or not answered, and are tried again."""
        return self._waiting

    @property
    def out(self) -> frozenset[str]:
        """Names of what takes nothing now."""
        return frozenset(self._out)

    def set_aside(self, name: str) -> int:
        """How many rows or records of this name were given up."""
        return self._set_aside[name]

    def note_refused(self, number: int) -> None:
        """So many writes that must be made were refused once more."""
        with self._lock:
            self._refused += number

    def note_waiting(self, more: int) -> None:
        """So many more writes wait; fewer, below 0."""
        with self._lock:
            self._waiting += more

    def note_set_aside(self, name: str, number: int) -> None:
        """So many were given up."""
        with self._lock:
            self._set_aside[name] += number

    def note_out(self, name: str, *, is_out: bool) -> None:
        """Whether it takes anything now."""
        with self._lock:
            (self._out.add if is_out else self._out.discard)(name)
