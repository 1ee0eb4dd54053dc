"""What all processes of a test session hold in memory: looked at every few seconds, and too much fails the session.

The session is the process that was started as pytest, and all below it: with `-n`, each process of tests with its
stacks.
"""

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import pytest

from tools.stack.memory import Used, rss_mib, used_below
from tools.stack.parts import PARTS_BY_NAME

# Of all stacks and processes of tests together.
SESSION_MIB_MAX = 8 * 1024
EVERY_S = 5.0
# pytest itself, and what a test starts beside a stack.
TESTS = "tests"


class Peak:
    """The most that all processes held together, by part, and the most that each part of one stack ever held."""

    def __init__(
        self,
        used: Callable[[], Sequence[Used]] = lambda: used_below(os.getpid()),
        resident_mib: Callable[[], float] = lambda: rss_mib(os.getpid()),
    ) -> None:
        self._used, self._resident_mib = used, resident_mib
        self.by_part: dict[str, float] = {}
        self.of_one: dict[str, float] = {}

    @property
    def mib(self) -> float:
        """The highest sum."""
        return sum(self.by_part.values())

    def look(self) -> None:
        """Measure all, unless the sum cannot be higher than the highest."""
        if self._resident_mib() <= self.mib:
            return
        now: dict[str, float] = defaultdict(float)
        for one in self._used():
            name = one.part or TESTS
            now[name] += one.mib
            self.of_one[name] = max(one.mib, self.of_one.get(name, 0.0))
        if sum(now.values()) > self.mib:
            self.by_part = now

    def findings(self) -> Iterator[str]:
        """A sentence on each bound that did not hold: of all together, and of each part of one stack."""
        if self.mib > SESSION_MIB_MAX:
            yield f"all together had more than {SESSION_MIB_MAX:,} MiB"
        for name, mib in self.of_one.items():
            if name in PARTS_BY_NAME and mib > PARTS_BY_NAME[name].memory_mib:
                yield f"{name} had {mib:,.0f} MiB, more than its budget of {PARTS_BY_NAME[name].memory_mib:,}"

    def lines(self) -> Iterator[str]:
        """A line of the highest sum, and one for each part."""
        stacks = sum(mib for name, mib in self.by_part.items() if name != TESTS)
        yield f"{self.mib:,.0f} MiB (PSS) at most, of {SESSION_MIB_MAX:,}; {stacks:,.0f} of them in parts of stacks"
        for name, mib in sorted(self.by_part.items(), key=lambda item: -item[1]):
            budget = PARTS_BY_NAME[name].memory_mib if name in PARTS_BY_NAME else None
            of_one = f"{self.of_one[name]:,.0f} in one stack at most" + (
                "" if budget is None else f", budget {budget:,}"
            )
            yield f"  {name:<12} {mib:6,.0f} MiB then; {of_one}"


class SessionMemory:
    """A plugin of pytest for the process that runs the session: watches in a thread, and tells at the end."""

    def __init__(self, peak: Peak | None = None, every_s: float = EVERY_S) -> None:
        self._peak, self._every_s = peak or Peak(), every_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="session-memory", daemon=True)

    def _watch(self) -> None:
        self._peak.look()
        while not self._ending.wait(self._every_s):
            self._peak.look()

    def pytest_sessionstart(self) -> None:
        """Begin to look."""
        self._thread.start()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would have passed, if it or a part had too much."""
        self._ending.set()
        with contextlib.suppress(RuntimeError):  # It never began.
            self._thread.join()
        if any(self._peak.findings()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the highest sum and its parts, and what was too much."""
        terminalreporter.section("memory of all processes")
        for line in self._peak.lines():
            terminalreporter.write_line(line)
        for finding in self._peak.findings():
            terminalreporter.write_line(finding, red=True)
