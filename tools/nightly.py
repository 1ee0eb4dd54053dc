"""`python -m tools.nightly`: runs what CI leaves out because it takes long, and prints a summary at the end.

The parts run one after the other. Each runs even if an earlier one has failed, so that one failure does not cost a
night.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARKER = "nightly"


@dataclass(frozen=True)
class Part:
    """One command, which runs in a process of its own. `good` are the exit codes that mean success."""

    name: str
    command: tuple[str, ...]
    good: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Outcome:
    """The result of a part."""

    name: str
    exit_code: int
    is_good: bool
    seconds: float

    def line(self) -> str:
        """The line of the summary: verdict, name and seconds, and the exit code if it is not 0."""
        verdict = "passed" if self.is_good else "FAILED"
        how = "" if self.exit_code == 0 else f", exit code {self.exit_code}"
        return f"{verdict}  {self.name:<12}{self.seconds:>8.0f} s{how}"


PARTS = (
    Part("tests", (sys.executable, "-m", "pytest", "-m", MARKER)),
    Part(
        "properties",
        (sys.executable, "-m", "pytest", "--hypothesis-profile", "thorough", "-m", f"hypothesis and not {MARKER}"),
    ),
    Part("fuzz", (sys.executable, "-m", "tests.fuzz", "--seconds", "600")),
    Part("audit-demo", (sys.executable, "-m", "tools.audit_demo")),
    Part("exact", (sys.executable, "-m", "tools.exact")),
)


def in_process(command: Sequence[str]) -> int:
    """Run a command with this process's output, and return its exit code."""
    return subprocess.run(command, check=False).returncode


def run(parts: Sequence[Part], execute: Callable[[Sequence[str]], int] = in_process) -> list[Outcome]:
    """Run every part, and measure its time."""
    found = []
    for part in parts:
        print(f"nightly: {part.name}", flush=True)
        started_at = time.monotonic()
        code = execute(part.command)
        found.append(Outcome(part.name, code, code in part.good, time.monotonic() - started_at))
    return found


def main(parts: Sequence[Part] = PARTS, execute: Callable[[Sequence[str]], int] = in_process) -> int:
    """Run all parts and print the summary. Returns 1 if any part failed, otherwise 0."""
    outcomes = run(parts, execute)
    print("\nnightly:")
    for outcome in outcomes:
        print(f"  {outcome.line()}")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
