"""When something is due by key: one processing-time timer at a time for each key and purpose."""

from pyflink.datastream import TimerService


class Due:
    """Of one purpose. Lives in memory alone: after a restore nobody knows what a timer was for, so it was for this."""

    def __init__(self) -> None:
        self._at_ms: dict[int, int] = {}

    def arm(self, timers: TimerService, key: int, at_ms: int) -> None:
        """Set a timer for the current key, called `key` here, unless there is one."""
        if key not in self._at_ms:
            self._at_ms[key] = at_ms
            timers.register_processing_time_timer(at_ms)

    def take(self, key: int, timestamp: int) -> bool:
        """Whether a timer of this timestamp was for this purpose; then another one may be set."""
        if self._at_ms.get(key, 0) > timestamp:
            return False
        self._at_ms.pop(key, None)
        return True
