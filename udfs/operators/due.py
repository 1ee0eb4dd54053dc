"""Decides by key when something is due, in processing time: by a timer, or at once if that is not too often."""

from pyflink.datastream import TimerService


class Due:
    """The timers of one purpose. It is in memory only, so a restored timer counts as one of every purpose."""

    def __init__(self) -> None:
        self._at_ms: dict[int, int] = {}
        # The keys that have occurred since the job was started.
        self._known: set[int] = set()

    def arm(self, timers: TimerService, key: int, at_ms: int) -> None:
        """Set a timer for Flink's current key, which is called `key` here, unless there is one."""
        self._known.add(key)
        if key not in self._at_ms:
            self._at_ms[key] = at_ms
            timers.register_processing_time_timer(at_ms)

    def take(self, key: int, timestamp: int) -> bool:
        """Return whether a timer of this timestamp was for this purpose. If so, another one may be set."""
        if key not in self._known:
            self._known.add(key)
            return True
        if key not in self._at_ms or self._at_ms[key] > timestamp:
            return False
        del self._at_ms[key]
        return True


class Allowance:
    """Says whether something may be done at once: for a key, once an interval on average, a few times in one moment.

    It is a token bucket that is empty at first, and is in memory only.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # By key: how many are left, and the time at which that was so.
        self._left: dict[int, tuple[float, int]] = {}

    def take(self, key: int, now_ms: int, interval_ms: int) -> bool:
        """Return whether it may be done now. If so, it counts as done."""
        left, as_of_ms = self._left.get(key, (0.0, now_ms))
        left = min(float(self._at_once), left + (now_ms - as_of_ms) / interval_ms)
        may = left >= 1.0
        self._left[key] = (left - 1.0 if may else left, now_ms)
        return may
