"""Answers about one channel."""

from typing import Annotated

from msgspec import Meta, Struct

from services.query.api.answers.about import (
    ArrivalsThrough,
    FromStores,
    HistoryRevision,
    LateThrough,
    Missing,
    PointComplete,
    Time,
    Waits,
)


class ChannelPoint(Struct, frozen=True):
    """The views of a channel's videos in one hour."""

    start: Time
    views: Annotated[
        int | None,
        Meta(description="Null for hours that are not counted yet, and for hours that the table may have dropped."),
    ]
    complete: PointComplete


class ChannelSeries(FromStores, frozen=True):
    """The views of a channel's videos by the hour, without gaps. Imported views are left out."""

    points: list[ChannelPoint]
    complete_through: Annotated[
        Time | None,
        Meta(description="Hours that end by then have been counted; null before the first rollup."),
    ]
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
