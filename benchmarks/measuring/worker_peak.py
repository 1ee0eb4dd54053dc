"""Measures the peak of memory of a stack's Python workers while something runs."""

import contextlib
import threading
from collections.abc import Iterator

import psutil

from tools.stack import PartError, Stack

_EVERY_S = 0.25


class Peak:
    """`mib` is the highest resident memory of any worker, in MiB, with mapped files."""

    def __init__(self) -> None:
        self.mib = 0


@contextlib.contextmanager
def peak_of_workers(stack: Stack) -> Iterator[Peak]:
    """Measure every quarter of a second in a thread, until the block ends."""
    peak, ended = Peak(), threading.Event()

    def look() -> None:
        while not ended.wait(_EVERY_S):
            with contextlib.suppress(PartError, psutil.Error):
                for pid in stack.python_workers():
                    with contextlib.suppress(psutil.Error):
                        peak.mib = max(peak.mib, psutil.Process(pid).memory_info().rss >> 20)

    thread = threading.Thread(target=look, name="peak of workers")
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
