"""When something is due by key: one processing-time timer at a time for each key and purpose."""

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
