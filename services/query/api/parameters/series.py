"""The range and the points of a series."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from services.parameters import ParameterError
from services.query.api.parameters.times import EARLIEST, floor, time_range
from services.query.counts import zones
from services.query.counts.series import Series
from services.query.counts.zones import LocalDays

STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
DEFAULT_GRANULARITY = "minute"
# How long a series is without `from`, by granularity.
DEFAULT_SPANS = {"minute": timedelta(hours=1), "hour": timedelta(days=1), "day": timedelta(days=30)}
# The only granularity of channels.
CHANNEL_GRANULARITY = "hour"


def read_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series that `granularity`, `from` and `to` ask for.

    By default it is a series of minutes that ends with the current minute. A series without `from` is an hour of
    minutes, a day of hours or 30 days long. `from` is rounded down and `to` up to the granularity, so that every point
    is whole. Days are days of UTC. Raises ParameterError, also for more than `points_max` points.
    """
    granularity = query.get("granularity", DEFAULT_GRANULARITY)
    step = STEPS.get(granularity)
    if step is None:
        raise ParameterError("granularity", granularity, f"must be one of {', '.join(STEPS)}")
    start, end = time_range(query, now)
    if start is None:
        start = max(EARLIEST, floor(end, step) - DEFAULT_SPANS[granularity])
    series = Series(step, floor(start, step), floor(end + step - timedelta(microseconds=1), step))
    if series.points > points_max:
        raise ParameterError(
            "from",
            query.get("from", ""),
            f"asks for {series.points} points, more than {points_max}; narrow the range",
        )
    return series


def read_channel_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series of a channel: as `read_series`, by the hour."""
    granularity = query.get("granularity", CHANNEL_GRANULARITY)
    if granularity != CHANNEL_GRANULARITY:
        raise ParameterError("granularity", granularity, "must be hour: channels are counted by the hour")
    return read_series({**query, "granularity": granularity}, now=now, points_max=points_max)


def read_local_days(query: Mapping[str, str], *, now: datetime, points_max: int) -> LocalDays:
    """The days of `zone` that the time from `from` to `to` touches; by default today and the 30 days before it.

    Raises ParameterError, also when the days have more than `points_max` hours.
    """
    name = query["zone"]
    granularity = query.get("granularity", DEFAULT_GRANULARITY)
    if granularity != "day":
        raise ParameterError("zone", name, f"goes with granularity=day, not with {granularity}")
    if name not in zones.names():
        raise ParameterError("zone", name, "must be a zone of the IANA database, such as Europe/Berlin")
    zone = ZoneInfo(name)
    start, end = time_range(query, now)
    first = end.astimezone(zone).date() - DEFAULT_SPANS["day"] if start is None else start.astimezone(zone).date()
    days = (end.astimezone(zone).date() - first).days
    days_max = points_max // 24
    if days > days_max:
        raise ParameterError("from", query.get("from", ""), f"asks for more than {days_max} days; narrow the range")
    return zones.local_days(zone, first, end)
