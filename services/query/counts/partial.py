"""Answers what is known of a series while history cannot be read for a part of it. Pure, but for reads handed over."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from services.query.counts.completeness import HistoryAwayError
from services.query.counts.points import Points
from services.query.counts.series import Series
from services.query.counts.spans import Span

Asked = TypeVar("Asked", Series, Points)
# Views that nobody knows are None.
Views = tuple[datetime, int | None]


class Unknown(NamedTuple):
    """Why the views within a span are not known."""

    reason: str
    span: Span


async def known_points(
    asked: Asked, read: Callable[[Asked], Awaitable[Sequence[tuple[datetime, int]]]]
) -> tuple[list[Views], list[Unknown]]:
    """(start, views) of every point, and what is not known. `read` reads all points of what it is handed.

    Raises HistoryAwayError if no point is known.
    """
    unknown: list[Unknown] = []
    errors: list[HistoryAwayError] = []

    async def known(part: Asked) -> list[Views]:
        if not part.starts:
            return []
        try:
            return list(await read(part))
        except HistoryAwayError as error:
            if error.unknown is None:
                raise
            errors.append(error)
            first, end = error.unknown
            unknown.append(Unknown(str(error), (max(first, part.span[0]), min(end, part.span[1]))))
            earlier, later = part.until(first), part.since(end)
            if len(earlier.starts) + len(later.starts) >= len(part.starts):
                # What is unknown has to do with no point of this part, so that asking again would not help.
                raise
            before: list[Views] = await known(earlier)
            after: list[Views] = await known(later)
            between: Sequence[datetime] = part.starts[len(before) : len(part.starts) - len(after)]
            return [*before, *((start, None) for start in between), *after]

    found = await known(asked)
    if errors and all(views is None for _, views in found):
        raise errors[0]
    return found, unknown
