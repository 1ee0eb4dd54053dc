"""Measures the memory of processes, and of the parts to which they belong. Reads /proc; changes nothing."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.stack.supervision import program_of

MIB = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# supervisord, what watches each part, the command that runs the stack with its demo, and Flink's command line with the
# Python below it, which submit a job or wait for a rollup.
OTHERS_MIB = 624
# What all parts of `make run` may have together.
RUN_MIB_MAX = 10 * 1024


@dataclass(frozen=True)
class Used:
    """The memory of one running part of a stack, with what watches it. Without a name: of what belongs to no part."""

    part: str | None
    mib: float


def pss_mib(pid: int) -> float:
    """The proportional set size of a process and all below it: shared pages count once among those who share them.

    What has ended, or may not be read, counts as 0.
    """
    return sum(_pss_bytes(one.pid) for one in _tree(pid)) / MIB


def rss_mib(pid: int) -> float:
    """The resident pages of a process and all below it: never less than their PSS, and 20 times cheaper to read."""
    return sum(_resident_pages(one.pid) for one in _tree(pid)) * PAGE_BYTES / MIB


def used_below(pid: int) -> list[Used]:
    """The PSS of each part of each stack that runs below a process, and of all that belongs to no part."""
    found: dict[int | None, Used] = {None: Used(None, 0.0)}
    # The process that watches its part, by each process of it.
    watched_by: dict[int, int | None] = {}
    for one in _tree(pid):
        with contextlib.suppress(psutil.Error):
            # psutil names a process before those below it.
            watcher, part = watched_by.get(one.ppid()), program_of(one.cmdline())
            if part is not None:
                watcher = one.pid
                found[watcher] = Used(part, 0.0)
            watched_by[one.pid] = watcher
            found[watcher] = Used(found[watcher].part, found[watcher].mib + _pss_bytes(one.pid) / MIB)
    return list(found.values())


def _tree(pid: int) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
