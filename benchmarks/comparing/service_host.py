"""Runs one process of a service until it is ready, alone on its cores. Knows no service and no figures' meaning.

With two cores or more, each service is alone on the first core, and its stores, the load tool and this process share
the others. A process inherits the cores of the one that starts it.
"""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0


class BenchError(RuntimeError):
    """A service or the load tool did not do what it was asked for."""


@contextlib.contextmanager
def cores(chosen: set[int]) -> Iterator[None]:
    """What starts inside runs on these cores alone; on all if there are none."""
    before = os.sched_getaffinity(0)
    if chosen:
        os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(process: psutil.Process, chosen: set[int]) -> None:
    """Hold a process that runs already, with its children and all their threads, to these cores; if there are any."""
    for one in (process, *process.children(recursive=True)) if chosen else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            for thread in one.threads():
                # One may have ended meanwhile, and those that begin take over the cores of who begins them.
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, chosen)


def shares(available: set[int], *, is_pinned: bool) -> tuple[set[int], set[int]]:
    """(cores of the services, cores of everything else); both are empty if nothing is held to a core."""
    if not is_pinned or len(available) < 2:
        return set(), set()
    first = min(available)
    return {first}, available - {first}


@dataclass(frozen=True)
class Program:
    """A process that serves HTTP: `ready` is the URL that answers 200 as soon as it serves.

    Python finds the service's code in `folder`, in which it starts, whatever is installed.
    """

    name: str
    command: Sequence[str]
    variables: Mapping[str, str]
    folder: Path
    ready: str
    log: Path


@contextlib.contextmanager
def running(program: Program, on: set[int]) -> Iterator[psutil.Process]:
    """The process, ready, until the context ends. Raises BenchError if it does not become ready."""
    variables = known(program.variables, (program.folder / "docs" / "settings.md").read_text(encoding="utf-8"))
    with program.log.open("wb") as out, cores(on):
        process = subprocess.Popen(
            program.command,
            cwd=program.folder,
            env={**variables, "PYTHONPATH": str(program.folder)},
            stdout=out,
            stderr=out,
        )
    try:
        _wait_ready(program, process)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_s(process: psutil.Process) -> float:
    """User and system time of the process and of its children, so far."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def known(variables: Mapping[str, str], page: str) -> dict[str, str]:
    """The variables without those settings that the page of all settings lacks: an older checkout refuses these."""
    names = set(re.findall(r"VIEW_COUNTS_[A-Z0-9_]+", page))
    return {name: text for name, text in variables.items() if name in names or not name.startswith("VIEW_COUNTS_")}


def _wait_ready(program: Program, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(program.ready, trust_env=False).status_code == httpx2.codes.OK:
                return
        time.sleep(0.05)
    printed = program.log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise BenchError(f"{program.name} did not become ready within {READY_WITHIN_S:.0f} s:\n{printed}")
