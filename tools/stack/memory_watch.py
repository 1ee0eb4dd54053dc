"""Watches the memory of a running stack's parts, and tells which has more than its budget. It stops nothing.

A part that can be told a bound has one. This tells of the rest: native memory of the JVMs, and the Python workers.
"""

import time
from collections.abc import Callable, Mapping

EVERY_S = 30.0


class MemoryWatch:
    """Checks the memory of parts. A program that waits for a running stack calls `look` a few times a second."""

    def __init__(
        self,
        used_mib: Callable[[], Mapping[str, float]],
        budgets_mib: Mapping[str, int],
        say: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._used_mib, self._budgets_mib, self._say, self._clock_s = used_mib, budgets_mib, say, clock_s
        self._next_s = clock_s()
        self._told: set[str] = set()

    def look(self) -> None:
        """Measure, if the last time was some time ago. Says once that a part is beyond its budget, until it is not."""
        if self._clock_s() < self._next_s:
            return
        self._next_s = self._clock_s() + EVERY_S
        used = self._used_mib()
        beyond = {name for name, mib in used.items() if mib > self._budgets_mib[name]}
        for name in sorted(beyond - self._told):
            self._say(
                f"{name} has {used[name]:,.0f} MiB of memory, and its budget is {self._budgets_mib[name]:,}: "
                "`bin/vc status --memory` shows all parts"
            )
        self._told = beyond
