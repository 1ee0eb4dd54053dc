"""The range and the points of a series."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from services.parameters import ParameterError
from services.query.api.parameters.choices import one_of
from services.query.api.parameters.times import EARLIEST, floor, time_range
from services.query.counts import zones
from services.query.counts.points import Points
from services.query.counts.series import Series

STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
# They are of different lengths, or begin where a parameter says.
OF_DATES = ("week", "month")
GRANULARITIES = (*STEPS, *OF_DATES)
DEFAULT_GRANULARITY = "minute"
DEFAULT_WEEK_START = "monday"
# How long a series is without `from`, by granularity.
DEFAULT_SPANS = {
    "minute": timedelta(hours=1),
    "hour": timedelta(days=1),
    "day": timedelta(days=30),
    "week": timedelta(weeks=12),
    "month": timedelta(days=365),
}
CHANNEL_GRANULARITIES = ("hour", "day")
DEFAULT_CHANNEL_GRANULARITY = "hour"
UTC_CLOCK = ZoneInfo("UTC")
# Zones whose points are those without a zone.
UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"})


def read_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series that `granularity`, `from` and `to` ask for.

    By default it is a series of minutes that ends with the current minute. A series without `from` is an hour of
    minutes, a day of hours or 30 days long. `from` is rounded down and `to` up to the granularity, so that every point
    is whole. Days are days of UTC. Raises ParameterError, also for more than `points_max` points.
    """
    granularity = one_of(query, "granularity", STEPS, DEFAULT_GRANULARITY)
    step = STEPS[granularity]
    start, end = _range(query, granularity, now=now)
    series = Series(step, floor(start, step), floor(end + step - timedelta(microseconds=1), step))
    _check_points(query, series.points, points_max)
    return series


def read_channel_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series of a channel: as `read_series`, by the hour or by the day. A day is read as its hours."""
    granularity = one_of(query, "granularity", CHANNEL_GRANULARITIES, DEFAULT_CHANNEL_GRANULARITY)
    series = read_series({**query, "granularity": granularity}, now=now, points_max=points_max)
    if granularity == "day":
        _check_days(query, series.points, points_max // 24)
    return series


def read_video_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series | Points:
    """The series of a video: as `read_series`, and Points for weeks, for months and with `zone`.

    A series without `from` is 12 weeks or 365 days long, if it is of weeks or months. Raises ParameterError, also for
    `week_start` without weeks.
    """
    granularity = one_of(query, "granularity", GRANULARITIES, DEFAULT_GRANULARITY)
    week_start = _week_start(query, granularity)
    zone = _zone(query)
    if zone is None and granularity in STEPS:
        return read_series(query, now=now, points_max=points_max)
    clock = zone or UTC_CLOCK
    start, end = _range(query, granularity, now=now, clock=clock)
    # Before the points are made, since there may be millions of them, and each of a zone takes long to find.
    most = min(points_max, ZONE_HOURS_MAX) if granularity == "hour" else points_max
    _check_points(query, (end - start) // _SHORTEST[granularity], most)
    bounds = _bounds(granularity, clock, start, end, week_start)
    if zone is not None and granularity == "day":
        # Each day of a zone is read as its hours.
        _check_days(query, len(bounds) - 1, points_max // 24)
    points = Points(bounds, zone, is_of_minutes=granularity == "minute")
    if granularity == "hour":
        _check_minutes(query, points, points_max)
    return points


# Hours of a zone are found one by one, which holds up all other requests: 50,000 of them for more than half a second.
ZONE_HOURS_MAX = 9600
# No point is much shorter.
_SHORTEST = {**STEPS, "week": timedelta(days=6), "month": timedelta(days=27)}


def _bounds(granularity: str, zone: ZoneInfo, start: datetime, end: datetime, week_start: int) -> tuple[datetime, ...]:
    if granularity == "minute":
        return zones.minute_bounds(floor(start, STEPS["minute"]), end, STEPS["minute"])
    if granularity == "hour":
        return zones.hour_bounds(zone, start, end)
    there = start.astimezone(zone).date()
    if granularity == "month":
        return zones.date_bounds(zone, zones.month_of(there), start, end, zones.next_month)
    length = STEPS["day"] if granularity == "day" else timedelta(weeks=1)
    first = there if granularity == "day" else zones.week_of(there, week_start)
    return zones.date_bounds(zone, first, start, end, lambda day: day + length)


def _range(
    query: Mapping[str, str], granularity: str, *, now: datetime, clock: ZoneInfo = UTC_CLOCK
) -> tuple[datetime, datetime]:
    start, end = time_range(query, now)
    if start is not None:
        return start, end
    span = DEFAULT_SPANS[granularity]
    if granularity == "minute":
        start = floor(end, STEPS["minute"]) - span
    elif granularity == "hour":
        start = zones.hour_bounds(clock, end, end)[0] - span
    else:
        start = zones.day_start(end.astimezone(clock).date() - span, clock)
    return max(EARLIEST, start), end


def _zone(query: Mapping[str, str]) -> ZoneInfo | None:
    """The zone that is asked for; None for UTC."""
    name = query.get("zone", "UTC")
    if name not in zones.names():
        raise ParameterError("zone", name, "must be a zone of the IANA database, such as Europe/Berlin")
    return None if name in UTC_NAMES else ZoneInfo(name)


def _week_start(query: Mapping[str, str], granularity: str) -> int:
    name = one_of(query, "week_start", zones.WEEKDAYS, DEFAULT_WEEK_START)
    if "week_start" in query and granularity != "week":
        raise ParameterError("week_start", name, f"goes with granularity=week, not with {granularity}")
    return zones.WEEKDAYS.index(name)


def _check_points(query: Mapping[str, str], points: int, points_max: int) -> None:
    if points > points_max:
        raise ParameterError(
            "from", query.get("from", ""), f"asks for {points} points, more than {points_max}; narrow the range"
        )


def check_kinds_points(points: int, points_max: int) -> None:
    """Raise ParameterError if all kinds that are asked for have too many points together."""
    if points > points_max:
        reason = f"with all its values asks for {points} points, more than {points_max}; narrow the range"
        raise ParameterError("kind", "", reason)


def _check_minutes(query: Mapping[str, str], points: Points, points_max: int) -> None:
    """Hours of some zones are made of minutes, which are sixty times as many as the points."""
    minutes = sum((end - start) // STEPS["minute"] for start, end in points.pieces.split_hours)
    if minutes > points_max:
        reason = f"asks for hours that are made of {minutes} minutes, more than {points_max}; narrow the range"
        raise ParameterError("from", query.get("from", ""), reason)


def _check_days(query: Mapping[str, str], days: int, days_max: int) -> None:
    if days > days_max:
        raise ParameterError("from", query.get("from", ""), f"asks for more than {days_max} days; narrow the range")
