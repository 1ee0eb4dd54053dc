"""Counts what happened to the writes of one operator, for its metrics. Knows no Flink."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol


class Gauges(Protocol):
    """The part of a runtime's metric group that is used here."""

    def gauge(self, name: str, obj: Callable[[], int]) -> None:
        """Show what `obj` returns under this name."""


class WriteFigures:
    """The numbers of refused, waiting and set-aside writes. Thread-safe, because writes run in threads of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused = 0
        self._waiting = 0
        self._set_aside: Counter[str] = Counter()
        self._out: set[str] = set()

    def show(self, gauges: Gauges, optional: Iterable[str]) -> None:
        """Register the figures as gauges. `optional` names the tables and topics without which counting goes on.

        `refused_writes` says how often a required write was refused, and `waiting_writes` how many of them wait now.
        `set_aside_NAME` is the number of rows or records of an optional name that were given up. `optional_out` is the
        number of optional names that take no writes now.
        """
        gauges.gauge("refused_writes", lambda: self.refused)
        gauges.gauge("waiting_writes", lambda: self.waiting)
        gauges.gauge("optional_out", lambda: len(self._out))
        for name in optional:
            gauges.gauge(f"set_aside_{name}", lambda name=name: self.set_aside(name))  # type: ignore[misc]

    @property
    def refused(self) -> int:
        """How often Cassandra refused a required write."""
        return self._refused

    @property
    def waiting(self) -> int:
        """How many required writes were refused or not answered, and are being retried."""
        return self._waiting

    @property
    def out(self) -> frozenset[str]:
        """The optional names that take no writes now."""
        return frozenset(self._out)

    def set_aside(self, name: str) -> int:
        """How many rows or records of this optional name were given up."""
        return self._set_aside[name]

    def note_refused(self, number: int) -> None:
        """Count `number` more refusals of required writes."""
        with self._lock:
            self._refused += number

    def note_waiting(self, more: int) -> None:
        """Count `more` further waiting writes. A negative number means that so many wait no longer."""
        with self._lock:
            self._waiting += more

    def note_set_aside(self, name: str, number: int) -> None:
        """Count `number` rows or records of this optional name as given up."""
        with self._lock:
            self._set_aside[name] += number

    def note_out(self, name: str, *, is_out: bool) -> None:
        """Say whether this optional name takes no writes now."""
        with self._lock:
            (self._out.add if is_out else self._out.discard)(name)
