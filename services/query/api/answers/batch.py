"""Totals of many videos in one answer."""

from typing import Annotated

from msgspec import Meta, Struct

from services.query.api.answers.about import (
    ArrivalsThrough,
    CompleteThrough,
    FromStores,
    HistoryRevision,
    LateThrough,
    Missing,
    Waits,
)


class KindViews(Struct, frozen=True):
    """The total of one kind of events."""

    kind: str
    views: int
    imported: Annotated[int, Meta(description="How many of `views` were imported from another counter.")]
    blocked: Annotated[int, Meta(description="Views of blocked viewers, which are not in `views`.")]


class VideoTotals(Struct, frozen=True):
    """The totals of one video, by kind."""

    video_id: str
    kinds: list[KindViews]


class BatchViews(FromStores, frozen=True):
    """The totals of all videos that were asked for, in that order. A video that nobody has viewed has 0 views."""

    videos: list[VideoTotals]
    sum: Annotated[
        list[KindViews] | None,
        Meta(description="The sum over all videos, by kind; null if it was not asked for."),
    ]
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
