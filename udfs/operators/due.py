"""When something is due by key, in processing time: by a timer, or at once as long as it is not too often."""

from pyflink.datastream import TimerService


class Due:
    """Of one purpose. Lives in memory alone: a restored timer, of which nobody knows what it was for, was for this."""

    def __init__(self) -> None:
        self._at_ms: dict[int, int] = {}
        # Keys seen in this life of the job.
        self._known: set[int] = set()

    def arm(self, timers: TimerService, key: int, at_ms: int) -> None:
        """Set a timer for the current key, called `key` here, unless there is one."""
        self._known.add(key)
        if key not in self._at_ms:
            self._at_ms[key] = at_ms
            timers.register_processing_time_timer(at_ms)

    def take(self, key: int, timestamp: int) -> bool:
        """Whether a timer of this timestamp was for this purpose; then another one may be set."""
        if key not in self._known:
            self._known.add(key)
            return True
        if key not in self._at_ms or self._at_ms[key] > timestamp:
            return False
        del self._at_ms[key]
        return True


class Allowance:
    """How often something may be done at once for a key: once an interval on average, a few times in one moment.

    A token bucket that is empty at first. In memory alone.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # By key: how many are left, and as of when.
        self._left: dict[int, tuple[float, int]] = {}

    def take(self, key: int, now_ms: int, interval_ms: int) -> bool:
        """Whether it may be done now; then it counts as done."""
        left, as_of_ms = self._left.get(key, (0.0, now_ms))
        left = min(float(self._at_once), left + (now_ms - as_of_ms) / interval_ms)
        may = left >= 1.0
        self._left[key] = (left - 1.0 if may else left, now_ms)
        return may
