"""Days of a time zone: when they begin and end, and which hours and minutes they are made of. Pure."""

import bisect
import functools
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


@functools.cache
def names() -> frozenset[str]:
    """The names of all zones of the IANA database, from the system, or from the package tzdata if the system has none.

    Two names are left out because they are no place: localtime, the zone of this machine, and Factory.
    """
    return frozenset(zoneinfo.available_timezones()) - {"localtime", "Factory"}


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins in the zone, in UTC: at its first midnight, or at the change if clocks skip midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


@dataclass(frozen=True)
class LocalDays:
    """Days of a zone, each from one of `bounds` to before the next. Bounds are in UTC and in order."""

    zone: ZoneInfo
    bounds: tuple[datetime, ...]

    @property
    def split_hours(self) -> list[datetime]:
        """The hours, UTC, within which a day begins or ends; none where the zone's offsets are whole hours."""
        return sorted({_hour(bound) for bound in self.bounds if bound != _hour(bound)})

    def sums(self, rows: Iterable[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
        """(start, views) of every day, with the start at the zone's offset. Rows (UTC, views) outside do not count."""
        sums = [0] * (len(self.bounds) - 1)
        for at, views in rows:
            if self.bounds[0] <= at < self.bounds[-1]:
                sums[bisect.bisect_right(self.bounds, at) - 1] += views
        return [(start.astimezone(self.zone), views) for start, views in zip(self.bounds[:-1], sums, strict=True)]


def local_days(zone: ZoneInfo, first: date, end: datetime) -> LocalDays:
    """The days from `first` to the day in which `end` lies. That day is left out if `end` is its start."""
    bounds = [day_start(first, zone)]
    while bounds[-1] < end:
        first += DAY
        start = day_start(first, zone)
        # A zone that moves across the date line skips a day.
        if start > bounds[-1]:
            bounds.append(start)
    return LocalDays(zone, tuple(bounds))


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
