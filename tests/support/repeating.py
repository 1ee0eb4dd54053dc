"""Something that a test does again and again while it looks at something else."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class Repeating(ABC):
    """`step` is called in a thread of its own, with so many seconds in between, for as long as this is entered."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    @abstractmethod
    def step(self) -> None:
        """Do it once."""

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.step()
