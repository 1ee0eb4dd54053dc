"""The time of events: that of the device, corrected once by the service's. Pure: what it reads is an argument."""

import time
from collections.abc import Callable
from functools import partial

MS_NS = 1_000_000
# A smaller difference may be the way of the answer rather than a wrong clock.
TRUSTED_MS = 500


# Time in ns that no correction of the device's clock changes. Where it can, it goes on while the device sleeps.
steady_ns: Callable[[], int] = time.monotonic_ns
if hasattr(time, "CLOCK_BOOTTIME"):
    steady_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)


# The id of an event, its time in ms since 1970, and whether the clock was not set right yet when that was made. A plain
# tuple, since each view makes one.
Stamp = tuple[bytes | str, int, bool]


class Clock:
    """The time in ms since 1970.

    It goes on by `ticks_ns`. With a steady source, somebody who sets the device's clock right after it was corrected
    here does not make the time wrong again.
    """

    def __init__(
        self, ticks_ns: Callable[[], int] = steady_ns, wall_ns: Callable[[], int] = time.time_ns, *, known: bool = False
    ) -> None:
        self._ticks_ns = ticks_ns
        # Together, because another thread may correct it at any time.
        self._base_ns_and_known = wall_ns() - ticks_ns(), known
        self.shift_ms = 0

    @property
    def is_known(self) -> bool:
        """Whether the time is right."""
        return self._base_ns_and_known[1]

    def now_ms(self) -> int:
        """The time now."""
        return (self._ticks_ns() + self._base_ns_and_known[0]) // MS_NS

    def stamp(self, make_id: Callable[[int], bytes]) -> Stamp:
        """A new event's id and time. `make_id` is given the time."""
        base_ns, is_known = self._base_ns_and_known
        at_ms = (self._ticks_ns() + base_ns) // MS_NS
        return make_id(at_ms), at_ms, not is_known

    def corrected_by(self, shift_ms: int) -> None:
        """From now on the time is right. Call it once."""
        self.shift_ms = shift_ms
        self._base_ns_and_known = self._base_ns_and_known[0] + shift_ms * MS_NS, True

    def corrected(self, stamp: Stamp) -> Stamp:
        """The stamp with its right time, if that is known by now."""
        event_id, at_ms, by_device = stamp
        return (event_id, at_ms + self.shift_ms, False) if by_device and self.is_known else stamp


def shift_to(asked_ms: int, answered_ms: int, service_ms: int) -> int:
    """By how much the device's clock must go on to be right; 0 if it is as right as can be told.

    The service was asked and has answered at these times of the device's clock, and says `service_ms`.
    """
    way_ms = max(0, answered_ms - asked_ms)
    found = service_ms - (asked_ms + way_ms // 2)
    return 0 if abs(found) <= max(TRUSTED_MS, way_ms) else found
