"""Arithmetic with spans of time. Pure."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

# The time from the first to before the second, both in UTC.
Span = tuple[datetime, datetime]


def inside(spans: Sequence[Span], of: Span) -> list[Span]:
    """The parts of these spans that lie within `of`."""
    parts = ((max(start, of[0]), min(end, of[1])) for start, end in spans)
    return [part for part in parts if part[0] < part[1]]


def outside(spans: Sequence[Span], of: Span) -> list[Span]:
    """The parts of these spans that lie outside `of`."""
    parts = (part for start, end in spans for part in ((start, min(end, of[0])), (max(start, of[1]), end)))
    return [part for part in parts if part[0] < part[1]]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same times as the fewest possible spans, in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def nearly_merged(spans: Iterable[Span], gap: timedelta) -> list[Span]:
    """Fewer and longer spans, in order: those that lie no further apart than `gap` are one, with what is in between."""
    return [(start, end - gap) for start, end in merged((start, end + gap) for start, end in spans)]


def dates(start: datetime, end: datetime) -> list[date]:
    """The days, UTC, that the span from `start` to `end` touches. Both are whole minutes."""
    first, last = start.date(), (end - timedelta(minutes=1)).date()
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def months(first: date, last: date) -> list[date]:
    """The first day of every month from the month of `first` to that of `last`."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    places = range(first.month - 1, first.month - 1 + count)
    return [date(first.year + place // 12, place % 12 + 1, 1) for place in places]
