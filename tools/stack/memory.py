"""Measures the memory of a part: its own process and all processes below it. Reads /proc; changes nothing."""

import contextlib
from pathlib import Path

import psutil

MIB = 1 << 20
# supervisord, what watches each part, and the command that runs the stack with its demo.
OTHERS_MIB = 256
# What all parts of `make run` may have together.
RUN_MIB_MAX = 10 * 1024


def pss_mib(pid: int) -> float:
    """The proportional set size of a process and all below it: shared pages count once among those who share them.

    What has ended, or may not be read, counts as 0.
    """
    found = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        found = sum(_pss_bytes(one.pid) for one in (process, *process.children(recursive=True)))
    return found / MIB


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
