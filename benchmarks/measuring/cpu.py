"""Reads the CPU time of a stack's processes. Knows process ids, and not what the processes do."""

import contextlib
from collections.abc import Mapping

import psutil

from tools.stack import PartError, Stack

PYTHON_WORKERS = "python workers"


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds; 0 if it has ended."""
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def cpu_seconds(stack: Stack) -> Mapping[str, float]:
    """User and system time in seconds of each part's own process, and of all Python workers together."""
    found = {}
    for part in stack.parts:
        with contextlib.suppress(PartError):
            found[part.name] = cpu_s(stack.pid(part.name))
    with contextlib.suppress(PartError, psutil.Error):
        found[PYTHON_WORKERS] = sum(map(cpu_s, stack.python_workers()))
    return found
