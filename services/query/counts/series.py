"""A series of points, and how the counts of minutes, hours and days become its points. Pure.

Rows from Cassandra and from history have naive UTC times, as the Cassandra driver gives them. Points have aware times.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from services.query.counts.spans import Span


@dataclass(frozen=True)
class Series:
    """Points every `step` from `start` to before `end`. Both are UTC and aligned to the step."""

    step: timedelta
    start: datetime
    end: datetime

    @property
    def points(self) -> int:
        """The number of points."""
        return (self.end - self.start) // self.step

    @property
    def count(self) -> int:
        """The same, under the name that points of other lengths have for it."""
        return self.points

    @property
    def span(self) -> Span:
        """From the start of the first point to the end of the last."""
        return self.start, self.end

    @property
    def is_of_minutes(self) -> bool:
        """Whether the points are minutes."""
        return self.step == timedelta(minutes=1)

    @property
    def has_whole_days(self) -> bool:
        """Whether each point consists of whole days of UTC."""
        return self.step == timedelta(days=1)

    def sums_of_days(self, views: Mapping[datetime, int]) -> list[int]:
        """The sum of every point of days, by the start of a day in UTC."""
        return [views.get(start, 0) for start in self.starts]

    def until(self, end: datetime) -> "Series":
        """The first points, those that end by then."""
        points = min(max((end - self.start) // self.step, 0), self.points)
        return Series(self.step, self.start, self.start + points * self.step)

    def since(self, start: datetime) -> "Series":
        """The last points, those that begin then or later."""
        return Series(self.step, self.end - self._points_since(start) * self.step, self.end)

    def _points_since(self, start: datetime) -> int:
        return min(max((self.end - start) // self.step, 0), self.points)

    @property
    def starts(self) -> list[datetime]:
        """When each point begins, in order."""
        return [self.start + place * self.step for place in range(self.points)]


class Rolled(NamedTuple):
    """A point as the rollup has counted it: its views before `complete_through`. Both times are naive UTC."""

    start: datetime
    views: int
    complete_through: datetime


def fill(
    series: Series, rows: Iterable[tuple[datetime, int]], rolled: Iterable[Rolled] = ()
) -> list[tuple[datetime, int]]:
    """(start, views) of every point of the series, 0 where there is no row. `rows` are (minute, views).

    Where the rollup has counted a point, its count replaces the minutes before the point's `complete_through`.
    """
    sums = [0] * series.points
    covered: dict[int, datetime] = {}
    for one in rolled:
        point = (one.start.replace(tzinfo=UTC) - series.start) // series.step
        sums[point], covered[point] = one.views, one.complete_through
    for minute, views in rows:
        point = (minute.replace(tzinfo=UTC) - series.start) // series.step
        if point not in covered or minute >= covered[point]:
            sums[point] += views
    return list(zip(series.starts, sums, strict=True))


def days_of_total(today: date, kept_days: int) -> list[date]:
    """The days whose minutes are kept, and tomorrow: a writer whose clock is a minute ahead may have begun it."""
    return [today + timedelta(days=offset) for offset in range(-kept_days, 2)]


def naive(at: datetime) -> datetime:
    """A UTC time as the Cassandra driver takes and gives it."""
    return at.replace(tzinfo=None)
