"""The most memory that a stack's Python workers had while something ran."""

import contextlib
import threading
from collections.abc import Iterator

import psutil

from tools.stack import PartError, Stack

_EVERY_S = 0.25


class Peak:
    """`mib`: the resident memory of the largest worker when it was largest, its share of what it maps included."""

    def __init__(self) -> None:
        self.mib = 0


@contextlib.contextmanager
def peak_of_workers(stack: Stack) -> Iterator[Peak]:
    """Looks every quarter of a second, from a thread of its own, until the block ends."""
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
