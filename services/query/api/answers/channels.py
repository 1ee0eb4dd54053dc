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
    """The views of a channel's videos in one hour or day."""

    start: Time
    views: Annotated[
        int | None,
        Meta(
            description="Null for hours that are not counted by channel, or not yet, and for days of which every hour "
            "is null. Of a day that is not complete, it is the sum of the hours that are counted."
        ),
    ]
    complete: PointComplete


class ChannelSeries(FromStores, frozen=True):
    """The views of a channel's videos by the hour or day, without gaps. Imported views are left out."""

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


class ChannelViews(FromStores, frozen=True):
    """The total of a channel's videos. Imported views are left out."""

    channel_id: str
    kind: str
    views: Annotated[int | None, Meta(description="All views before `complete_through`; null before the first rollup.")]
    late_added: Annotated[int | None, Meta(description="Those of them that came too late for the stream.")]
    complete_through: Annotated[
        Time | None,
        Meta(description="The end of the last hour that is in the total; null before the first rollup."),
    ]
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
