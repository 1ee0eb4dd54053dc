"""Runs the rollup every hour beside the local stack, when an hour of arrival has ended."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

HOUR_S = 3600.0
RETRY_S = 300.0


def wait_s(now_s: float, settled_s: float) -> float:
    """Seconds from now until `settled_s` after the end of the hour, when everything that arrived in it is archived."""
    return HOUR_S - (now_s - settled_s) % HOUR_S


class HourlyRollups:
    """A context manager with a thread that calls `run` every hour, and writes what it returned or raised to a log."""

    def __init__(self, run: Callable[[], str], log: Path, *, settled_s: float) -> None:
        self._run = run
        self._log = log
        self._settled_s = settled_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="rollups", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A rollup that still runs ends with the stack.
        self._stopping.set()

    def _loop(self) -> None:
        pause_s = wait_s(time.time(), self._settled_s)
        while not self._stopping.wait(pause_s):
            try:
                printed = self._run()
                pause_s = wait_s(time.time(), self._settled_s)
            # After any error the next attempt can do the same work again.
            except Exception as error:
                printed, pause_s = str(error), RETRY_S
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {printed.strip()}\n")
