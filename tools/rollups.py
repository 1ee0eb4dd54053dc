"""Runs the rollup by itself beside the local stack, when an hour of arrival may have closed."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

HOUR_S = 3600.0
RETRY_S = 300.0


def wait_s(now_s: float, settled_s: float) -> float:
    """From now until the next hour is over by so much, in which what arrived in it is archived."""
    return HOUR_S - (now_s - settled_s) % HOUR_S


class HourlyRollups:
    """A thread that calls `run` every hour; use as a context manager. What it printed or raised is in the log."""

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
        # One that runs ends with the stack it runs on.
        self._stopping.set()

    def _loop(self) -> None:
        pause_s = wait_s(time.time(), self._settled_s)
        while not self._stopping.wait(pause_s):
            try:
                printed = self._run()
                pause_s = wait_s(time.time(), self._settled_s)
            # Whatever it is, the next attempt begins where this one did.
            except Exception as error:
                printed, pause_s = str(error), RETRY_S
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {printed.strip()}\n")
