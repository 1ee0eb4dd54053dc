"""The time of events: that of the device, corrected once by the service's. Pure: what it reads is an argument."""

import time
from collections.abc import Callable

MS_NS = 1_000_000
# A smaller difference may be the way of the answer rather than a wrong clock.
TRUSTED_MS = 500


def steady_ns() -> int:
    """Time in ns that no correction of the device's clock changes. Where it can, it goes on while the device sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


class Clock:
    """The time in ms since 1970.

    It goes on by `ticks_ns`. With a steady source, somebody who sets the device's clock right after it was corrected
    here does not make the time wrong again.
    """

    def __init__(
        self, ticks_ns: Callable[[], int] = steady_ns, wall_ns: Callable[[], int] = time.time_ns, *, known: bool = False
    ) -> None:
        self._ticks_ns = ticks_ns
        self._base_ns = wall_ns() - ticks_ns()
        self.is_known = known
        self.shift_ms = 0

    def now_ms(self) -> int:
        """The time now."""
        return (self._ticks_ns() + self._base_ns) // MS_NS

    def corrected_by(self, shift_ms: int) -> None:
        """From now on the time is right. Call it once."""
        self._base_ns += shift_ms * MS_NS
        self.shift_ms = shift_ms
        self.is_known = True


def shift_to(asked_ms: int, answered_ms: int, service_ms: int) -> int:
    """By how much the device's clock must go on to be right; 0 if it is as right as can be told.

    The service was asked and has answered at these times of the device's clock, and says `service_ms`.
    """
    way_ms = max(0, answered_ms - asked_ms)
    found = service_ms - (asked_ms + way_ms // 2)
    return 0 if abs(found) <= max(TRUSTED_MS, way_ms) else found
