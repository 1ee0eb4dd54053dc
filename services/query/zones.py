"""Days of a time zone: when they begin and end, and the hours and minutes that they are made of. Pure."""

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
    """All zones of the IANA database that is there: the system's, or else the tzdata package's.

    Not what is no place: the zone of whichever machine answers, and that of a clock that nobody has set.
    """
    return frozenset(zoneinfo.available_timezones()) - {"localtime", "Factory"}


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins there, in UTC: at its first midnight, or where clocks skip that, when they do."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


@dataclass(frozen=True)
class LocalDays:
    """Days of a zone: from each of `bounds` to before the next. Bounds are in UTC and grow."""

    zone: ZoneInfo
    bounds: tuple[datetime, ...]

    @property
    def split_hours(self) -> list[datetime]:
        """Hours, UTC, in which one of the days begins or ends; where offsets are whole hours there are none."""
        return sorted({_hour(bound) for bound in self.bounds if bound != _hour(bound)})

    def sums(self, rows: Iterable[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
        """(start, views) of every day, the start as it is said there; of rows (UTC, views), those within the days."""
        sums = [0] * (len(self.bounds) - 1)
        for at, views in rows:
            if self.bounds[0] <= at < self.bounds[-1]:
                sums[bisect.bisect_right(self.bounds, at) - 1] += views
        return [(start.astimezone(self.zone), views) for start, views in zip(self.bounds[:-1], sums, strict=True)]


def local_days(zone: ZoneInfo, first: date, end: datetime) -> LocalDays:
    """The days from this one to the one in which `end` lies; that one is not among them when `end` is its start."""
    bounds = [day_start(first, zone)]
    while bounds[-1] < end:
        first += DAY
        start = day_start(first, zone)
        # A zone that changes the side of the date line skips a day.
        if start > bounds[-1]:
            bounds.append(start)
    return LocalDays(zone, tuple(bounds))


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
