"""`python -m tools.nightly`: what CI leaves out because it takes long, one part after the other, and what came of each.

All parts run whatever became of those before: a night is not to be lost to its first fault.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARKER = "nightly"


@dataclass(frozen=True)
class Part:
    """One command, in a process of its own. `good` are the exit codes with which it has not failed."""

    name: str
    command: tuple[str, ...]
    good: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Outcome:
    """What became of a part."""

    name: str
    exit_code: int
    is_good: bool
    seconds: float

    def line(self) -> str:
        """For the summary: verdict, name, seconds; of a part that failed also how it ended."""
        verdict = "passed" if self.is_good else "FAILED"
        how = "" if self.exit_code == 0 else f", exit code {self.exit_code}"
        return f"{verdict}  {self.name:<12}{self.seconds:>8.0f} s{how}"


PARTS = (
    Part("tests", (sys.executable, "-m", "pytest", "-m", MARKER)),
    Part("audit-demo", (sys.executable, "-m", "tools.audit_demo")),
    Part("exact", (sys.executable, "-m", "tools.exact")),
)


def in_process(command: Sequence[str]) -> int:
    """Run it with this process's output; its exit code."""
    return subprocess.run(command, check=False).returncode


def run(parts: Sequence[Part], execute: Callable[[Sequence[str]], int] = in_process) -> list[Outcome]:
    """Run every part and time it."""
    found = []
    for part in parts:
        print(f"nightly: {part.name}", flush=True)
        started_at = time.monotonic()
        code = execute(part.command)
        found.append(Outcome(part.name, code, code in part.good, time.monotonic() - started_at))
    return found


def main(parts: Sequence[Part] = PARTS, execute: Callable[[Sequence[str]], int] = in_process) -> int:
    """Run all, print the summary last; 1 if any part failed."""
    outcomes = run(parts, execute)
    print("\nnightly:")
    for outcome in outcomes:
        print(f"  {outcome.line()}")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
