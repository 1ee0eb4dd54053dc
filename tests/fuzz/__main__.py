"""`make fuzz`, or `python -m tests.fuzz --seconds N`: fuzzes everything for so long in all, part by part.

Each part runs in a process of its own, so that one that crashes harms no other. The summary at the end has a line for
each, and the command ends with 1 if any has found something.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.parts import Part, parts, seconds_of
from tools.stack.layout import repository

SECONDS = 180
FOLDER = repository() / ".local" / "fuzz"


class Found(NamedTuple):
    """What came of a part."""

    exit_code: int
    last_line: str


def run(part: Part, seconds: int) -> Found:
    """Run a part, with what it prints in a file of its own."""
    part.folder.mkdir(parents=True, exist_ok=True)
    log = part.folder / f"{part.name.replace(' ', '-')}.log"
    environment = {
        **os.environ,
        # As tests have them: no key is asked for, no Redis of this machine is used, kernels are compiled once.
        "VIEW_COUNTS_ACCESS_MODE": "open",
        "VIEW_COUNTS_REDIS_HOST": "",
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(repository() / ".local" / "numba-cache")),
    }
    with log.open("wb") as out:
        done = subprocess.run(part.command(seconds), stdout=out, stderr=out, check=False, env=environment)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return Found(done.returncode, f"see {log}" if done.returncode else (lines or [""])[-1])


def main(
    arguments: Sequence[str] | None = None,
    execute: Callable[[Part, int], Found] = run,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run all parts and print a line for each. Returns 1 if any has found something, otherwise 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"how long in all, {SECONDS} by default")
    parser.add_argument("--only", default="", help="fuzz the decoders and services whose names contain this text")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where inputs and logs go")
    asked = parser.parse_args(arguments)
    chosen = parts(asked.folder, asked.only)
    if not chosen:
        parser.error(f"--only={asked.only}: no part has such a name; leave it out to see all")
    ends_at = clock() + asked.seconds
    is_good = True
    for place, part in enumerate(chosen):
        found = execute(part, seconds_of(chosen[place:], ends_at - clock()))
        is_good = is_good and found.exit_code == 0
        verdict = "passed" if found.exit_code == 0 else f"FAILED with {found.exit_code}"
        print(f"{verdict}  {part.name:<22}{found.last_line}", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
