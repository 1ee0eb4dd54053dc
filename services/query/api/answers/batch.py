"""Totals of many videos in one answer."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from services.query.api.answers.about import (
    ArrivalsThrough,
    CompleteThrough,
    FromStores,
    HistoryRevision,
    LateThrough,
    Missing,
    Waits,
)
from services.query.api.answers.kinds import KindsThrough, KindViews


class VideoTotals(Struct, frozen=True):
    """The totals of one video, by kind."""

    video_id: str
    kinds: list[KindViews]


class BatchViews(FromStores, frozen=True, kw_only=True):
    """The totals of all videos that were asked for, in that order. A video that nobody has viewed has 0 views."""

    videos: list[VideoTotals]
    sum: Annotated[
        list[KindViews] | None,
        Meta(description="The sum over all videos, by kind; null if it was not asked for."),
    ]
    kinds_through: KindsThrough = UNSET
    kinds_left_out: Annotated[
        dict[str, int] | UnsetType,
        Meta(
            description="Only answers to kind=* have it: by video how many of its kinds are not in the answer, for "
            "videos that have more than are listed."
        ),
    ] = UNSET
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
