"""Points of any length, as weeks, months and the hours of a zone are, and which rows they are made of. Pure.

A point is the sum of whole days of UTC, of whole hours where no day fits, and of minutes where no hour fits. So each
minute is counted from one source, and a day, a week or a month of any zone is the sum of its hours.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo

from services.query.counts.series import Rolled
from services.query.counts.spans import Span, merged

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Points:
    """Points that begin at one of `bounds` and end before the next. Bounds are UTC, in order, and at least one.

    `zone` is None for points of whole days of UTC. `is_of_minutes` says that they are minutes, which are read as such.
    """

    bounds: tuple[datetime, ...]
    zone: ZoneInfo | None = None
    is_of_minutes: bool = False

    @property
    def count(self) -> int:
        """The number of points."""
        return len(self.bounds) - 1

    @property
    def span(self) -> Span:
        """From the start of the first point to the end of the last."""
        return self.bounds[0], self.bounds[-1]

    @property
    def starts(self) -> Sequence[datetime]:
        """When each point begins, in order."""
        return self.bounds[:-1]

    def until(self, end: datetime) -> "Points":
        """The first points, those that end by then."""
        return replace(self, bounds=self.bounds[: max(1, bisect.bisect_right(self.bounds, end))])

    def since(self, start: datetime) -> "Points":
        """The last points, those that begin then or later."""
        return replace(self, bounds=self.bounds[min(len(self.bounds) - 1, bisect.bisect_left(self.bounds, start)) :])

    @property
    def has_whole_days(self) -> bool:
        """Whether each point consists of whole days of UTC."""
        return self.zone is None

    def sums_of_days(self, views: Mapping[datetime, int]) -> list[int]:
        """The sum of every point of days, by the start of a day in UTC."""
        sums = [0] * self.count
        for start, one in views.items():
            self._add(sums, start, one)
        return sums

    @cached_property
    def pieces(self) -> "Pieces":
        """What the points are made of."""
        return _pieces(self.bounds)

    def sums(
        self, minutes: Iterable[tuple[datetime, int]], hours: Iterable[Rolled] = (), days: Iterable[Rolled] = ()
    ) -> list[int]:
        """The views of every point. Rows have naive UTC times, and those outside of their pieces do not count.

        Where the rollup has counted a day or an hour, its count replaces the minutes before its `complete_through`.
        """
        sums = [0] * self.count
        covered: dict[datetime, datetime] = {}
        for rolled, pieces in ((days, self.pieces.days), (hours, self.pieces.hours)):
            for one in rolled:
                start = one.start.replace(tzinfo=UTC)
                if _is_within(pieces, start):
                    covered[start] = one.complete_through.replace(tzinfo=UTC)
                    self._add(sums, start, one.views)
        for minute, views in minutes:
            at = minute.replace(tzinfo=UTC)
            # Whole days and whole hours have no time in common, so that one of these is there at most; a day's first
            # hour begins with the day.
            hour = floor_hour(at)
            through = covered.get(hour) if not _is_within(self.pieces.days, at) else covered.get(floor_day(at))
            if through is None or at >= through:
                self._add(sums, at, views)
        return sums

    def _add(self, sums: list[int], at: datetime, views: int) -> None:
        if self.bounds[0] <= at < self.bounds[-1]:
            sums[bisect.bisect_right(self.bounds, at) - 1] += views


@dataclass(frozen=True)
class Pieces:
    """Spans, in order and as few as possible, of whole days of UTC, of whole hours, and of hours that are cut."""

    days: list[Span]
    hours: list[Span]
    split_hours: list[Span]


def _pieces(bounds: tuple[datetime, ...]) -> Pieces:
    days: list[Span] = []
    hours: list[Span] = []
    split: set[datetime] = set()
    for start, end in pairwise(bounds):
        first, last = _ceil(start, DAY), floor_day(end)
        if first < last:
            days.append((first, last))
        for begin, until in ((start, first), (last, end)) if first < last else ((start, end),):
            if _ceil(begin, HOUR) < floor_hour(until):
                hours.append((_ceil(begin, HOUR), floor_hour(until)))
            split.update(floor_hour(at) for at in (begin, until) if at != floor_hour(at))
    return Pieces(merged(days), merged(hours), merged((at, at + HOUR) for at in split))


def floor_hour(at: datetime) -> datetime:
    """The start of the hour (UTC)."""
    return at.replace(minute=0, second=0, microsecond=0)


def floor_day(at: datetime) -> datetime:
    """The start of the day (UTC)."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _ceil(at: datetime, step: timedelta) -> datetime:
    floor = floor_day(at) if step == DAY else floor_hour(at)
    return at if floor == at else floor + step


def _is_within(spans: list[Span], at: datetime) -> bool:
    place = bisect.bisect_right(spans, at, key=lambda span: span[0]) - 1
    return place >= 0 and at < spans[place][1]
