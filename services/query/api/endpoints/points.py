"""Makes the points of a video's series. All points of answers about videos are made here."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from msgspec import UNSET

from services.query.api.answers.videos import Point
from services.query.api.texts import utc_text
from services.query.counts.arrivals import Closed
from services.query.counts.completeness import HistoryState
from services.query.counts.partial import Unknown, known_points
from services.query.counts.points import Points
from services.query.counts.series import Series
from services.query.counts.store import CountStore


async def read_points(
    store: CountStore,
    video_id: str,
    kind: str,
    asked: Series | Points,
    history: HistoryState,
    closed: Closed,
    *,
    now: datetime,
) -> tuple[list[Point], int | None, list[Unknown]]:
    """The points; how many of their views were imported, None where imported views are left out; and what is unknown.

    `closed` says which points are complete.
    """
    if isinstance(asked, Points):
        found, unknown = await known_points(asked, lambda part: store.points(video_id, kind, part, history, now=now))
    else:
        found, unknown = await known_points(asked, lambda part: store.series(video_id, kind, part, history, now=now))
    points = [_point(asked, place, start, views, closed) for place, (start, views) in enumerate(found)]
    if not asked.has_whole_days:
        return points, None, unknown
    marked, added = await asyncio.gather(
        _marked(store, video_id, kind, asked), store.imported_days(video_id, kind, asked.span, history)
    )
    imported = asked.sums_of_days(added)
    for point, (start, _), more in zip(points, found, imported, strict=True):
        if marked is not None:
            point.marked = marked.get(start)
        if more and point.views is not None:
            point.imported = more
            point.views += more
    return points, sum(point.imported or 0 for point in points), unknown


async def _marked(store: CountStore, video_id: str, kind: str, asked: Series | Points) -> Mapping[datetime, int] | None:
    """The marked views of days of UTC; None for longer points."""
    if isinstance(asked, Points):
        return None
    return await store.marked(video_id, kind, asked)


def _point(asked: Series | Points, place: int, start: datetime, views: int | None, closed: Closed) -> Point:
    if isinstance(asked, Series):
        return Point(utc_text(start), views, views is not None and closed.has(start, start + asked.step))
    until = asked.bounds[place + 1]
    end = UNSET if asked.is_of_minutes else _text(asked, until)
    return Point(_text(asked, start), views, views is not None and closed.has(start, until), end)


def _text(asked: Points, at: datetime) -> str:
    return utc_text(at) if asked.zone is None else at.astimezone(asked.zone).isoformat()
