"""The clock of a time zone: when its hours, days, weeks and months begin and end, in UTC. Pure."""

import functools
import zoneinfo
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@functools.cache
def names() -> frozenset[str]:
    """The names of all zones of the IANA database, from the system, or from the package tzdata if the system has none.

    Two names are left out because they are no place: localtime, the zone of this machine, and Factory.
    """
    return frozenset(zoneinfo.available_timezones()) - {"localtime", "Factory"}


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins in the zone, in UTC: at its first midnight, or at the change if clocks skip midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def week_of(day: date, first_weekday: int) -> date:
    """The first day of the week in which the day lies. Weekdays are numbered from 0, Monday."""
    return day - (day.weekday() - first_weekday) % 7 * DAY


def month_of(day: date) -> date:
    """The first day of the month."""
    return day.replace(day=1)


def next_month(day: date) -> date:
    """The first day of the month after."""
    return month_of(month_of(day) + 31 * DAY)


def minute_bounds(start: datetime, end: datetime, step: timedelta) -> tuple[datetime, ...]:
    """Times every `step` from `start`, until one is no earlier than `end`."""
    count = -((start - end) // step)
    return tuple(start + place * step for place in range(count + 1))


def date_bounds(
    zone: ZoneInfo, first: date, start: datetime, end: datetime, next_date: Callable[[date], date]
) -> tuple[datetime, ...]:
    """When days, weeks or months begin in the zone, from the one in which `start` lies until one is at `end` or later.

    `first` is the date of the earliest that may be wanted, and `next_date` makes each date from the one before.
    """
    bounds = [day_start(first, zone)]
    while bounds[-1] < end:
        first = next_date(first)
        at = day_start(first, zone)
        # A zone that moves across the date line skips a day.
        if at > bounds[-1]:
            bounds.append(at)
    # Where clocks go back over midnight, a date is shown again after the next one has begun.
    while len(bounds) > 1 and bounds[1] <= start:
        del bounds[0]
    return tuple(bounds)


def hour_bounds(zone: ZoneInfo, start: datetime, end: datetime) -> tuple[datetime, ...]:
    """When hours begin in the zone, from the one in which `start` lies until one is at `end` or later.

    An hour begins when the zone's clocks show a full hour, and when they change. So it is shorter than 60 minutes where
    they change by less than an hour, and where they change within an hour.
    """
    bounds = [_hour_start(zone, start)]
    offset = _offset(zone, start)
    while bounds[-1] < end:
        at = bounds[-1]
        usual = at + HOUR - _minute_there(at, offset)
        now = _offset(zone, usual)
        bounds.append(usual if now == offset else _change(zone, at, usual))
        offset = now
    return tuple(bounds)


def _hour_start(zone: ZoneInfo, at: datetime) -> datetime:
    at = at.replace(second=0, microsecond=0)
    offset = _offset(zone, at)
    usual = at - _minute_there(at, offset)
    return usual if _offset(zone, usual) == offset else _change(zone, usual, at)


def _minute_there(at: datetime, offset: timedelta) -> timedelta:
    return (at + offset).minute * MINUTE


def _change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime:
    """When clocks change, after the first time and not after the second, which are an hour apart at most."""
    was = _offset(zone, after)
    while until - after > MINUTE:
        middle = after + (until - after) // MINUTE // 2 * MINUTE
        after, until = (middle, until) if _offset(zone, middle) == was else (after, middle)
    return until


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None, "the zone of an aware time"
    return offset
