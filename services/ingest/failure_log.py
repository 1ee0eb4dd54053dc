"""Logs failed writes, at most a line a second, since an outage fails thousands of batches. Knows no Kafka."""

from collections.abc import Callable

LINE_EVERY_S = 1.0


class FailureLog:
    """Counts failed batches until `line(batches, events, reason)` writes the next line. Not thread-safe."""

    def __init__(self, line: Callable[[int, int, str], None], clock: Callable[[], float]) -> None:
        self._line = line
        self._clock = clock
        self._batches = 0
        self._events = 0
        self._reason = ""
        self._said_at_s: float | None = None

    def note(self, events: int, reason: str) -> None:
        """Note that a batch of this number of events was not written."""
        self._batches += 1
        self._events += events
        self._reason = reason
        self.say()

    def say(self) -> None:
        """Write a line about failures not logged yet, if it is time. Call it now and then, for the last of them."""
        now_s = self._clock()
        is_due = self._said_at_s is None or now_s - self._said_at_s >= LINE_EVERY_S
        if self._batches and is_due:
            self._said_at_s = now_s
            self._line(self._batches, self._events, self._reason)
            self._batches = self._events = 0
