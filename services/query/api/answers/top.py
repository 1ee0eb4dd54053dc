"""Lists of the most viewed videos."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from services.query.api.answers.about import (
    ArrivalsThrough,
    CompleteThrough,
    FromStores,
    HistoryRevision,
    LateThrough,
    Missing,
    Time,
    Waits,
)


class RankedVideo(Struct, frozen=True, kw_only=True):
    """A place in a list, with the metadata of the video. Metadata that is not known is null."""

    video_id: str
    views: int
    before: Annotated[
        int | UnsetType,
        Meta(description="Only lists of span=trending have it: the views in the 60 minutes before."),
    ] = UNSET
    title: str | None
    channel_id: str | None
    channel_name: str | None
    created_at: Time | None


class TopVideos(FromStores, frozen=True):
    """A list of span=hour, minute or trending, the first place first. Imported views are left out."""

    kind: str
    span: str
    minute: Annotated[
        Time | None,
        Meta(description="The minute that the list ends with; null if there is no list, and `videos` is then empty."),
    ]
    videos: list[RankedVideo]
    exact: Annotated[
        bool,
        Meta(
            description="Whether no video can be missing. It is false if a shard had more kinds than it ranks and left "
            "this kind out."
        ),
    ]
    not_exact_because: Annotated[str | None, Meta(description="Why the list is not exact, and what to do about it.")]
    complete_through: CompleteThrough
    arrivals_through: ArrivalsThrough
    waiting: Waits


class CountedVideo(Struct, frozen=True):
    """A place in a list of the rollup."""

    video_id: str
    views: int


class ClosedTopVideos(FromStores, frozen=True):
    """A list of span=clock_hour or day, the first place first. It is exact, and late events are in it.

    Imported views are left out.
    """

    kind: str
    span: str
    country: str
    channel: Annotated[str | None, Meta(description="The channel whose videos these are; null for those of all.")]
    start: Annotated[
        Time | None,
        Meta(description="When the hour or day begins; null if there is no list, and `videos` is then empty."),
    ]
    videos: list[CountedVideo]
    next: Annotated[
        str | None,
        Meta(description="The cursor of the next page; null if there is none. It is good until the next rollup."),
    ]
    full: Annotated[
        bool,
        Meta(description="Whether the list has its 100 places, with which it ends: further videos are in no page."),
    ]
    complete_through: Annotated[
        Time | None,
        Meta(description="The list has the views before this time; null if there is no list."),
    ]
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
