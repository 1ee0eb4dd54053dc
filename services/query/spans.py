"""Spans of time, and what two of them have in common. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

# From a time, UTC, to before another.
Span = tuple[datetime, datetime]


def inside(spans: Sequence[Span], of: Span) -> list[Span]:
    """What of these spans lies in that one."""
    parts = ((max(start, of[0]), min(end, of[1])) for start, end in spans)
    return [part for part in parts if part[0] < part[1]]


def outside(spans: Sequence[Span], of: Span) -> list[Span]:
    """What of these spans does not lie in that one."""
    parts = (part for start, end in spans for part in ((start, min(end, of[0])), (max(start, of[1]), end)))
    return [part for part in parts if part[0] < part[1]]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same times in order, as few spans as that takes."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
