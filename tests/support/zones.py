"""Days of a zone, as tests ask for them and as they expect them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from services.query.counts import zones
from services.query.counts.points import Points


def local_days(zone: ZoneInfo, first: date, end: datetime) -> Points:
    """The days from `first` to the day in which `end` lies. That day is left out if `end` is its start."""
    start = zones.day_start(first, zone)
    return Points(zones.date_bounds(zone, first, start, end, lambda day: day + timedelta(days=1)), zone)


def dated(days: Points, found: Iterable[tuple[datetime, int]]) -> list[tuple[date, int]]:
    """What was found by the date in the zone. The zone skips no midnight, or a day begins with the same date."""
    return [(at.astimezone(days.zone).date(), views) for at, views in found]


def local_starts(points: Points) -> list[str]:
    """When each point begins, by the clock of the zone."""
    return [start.astimezone(points.zone or UTC).isoformat() for start in points.bounds[:-1]]


def lengths(points: Points) -> list[float]:
    """How many hours each point has."""
    return [(end - start) / timedelta(hours=1) for start, end in pairwise(points.bounds)]
