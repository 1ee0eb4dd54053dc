"""Answers about one video."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from services.query.api.answers.about import (
    ArrivalsThrough,
    CompleteThrough,
    Day,
    FromStores,
    HistoryRevision,
    LateAdded,
    LateThrough,
    Missing,
    PointComplete,
    Time,
    Waits,
)


class VideoViews(FromStores, frozen=True):
    """The total of one video."""

    video_id: str
    kind: str
    views: int
    imported: Annotated[int, Meta(description="How many of `views` were imported from another counter.")]
    blocked: Annotated[int, Meta(description="Views of blocked viewers, which are not in `views`.")]
    late_added: LateAdded
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits


class Point(Struct):
    """The views of one minute, hour, day, week or month."""

    start: Annotated[Time, Meta(description="In UTC; with `zone`, at the offset of the zone at that time.")]
    views: Annotated[int | None, Meta(description="Null if nobody knows it now: `degraded` says why.")]
    complete: PointComplete
    end: Annotated[
        Time | UnsetType,
        Meta(
            description="Not included. Weeks, months, and hours and days of a zone have it, since these are not always "
            "equally long."
        ),
    ] = UNSET
    marked: Annotated[
        int | UnsetType | None,
        Meta(
            description="Only days of UTC have it: how many of `views` are beyond the rules for what one viewer may "
            "view. Null until the day is complete, and if no viewer is known."
        ),
    ] = UNSET
    imported: Annotated[
        int | UnsetType,
        Meta(
            description="Only days, weeks and months of UTC have it, and only if some of `views` were imported from "
            "another counter: how many."
        ),
    ] = UNSET


Imported = Annotated[
    int | None,
    Meta(
        description="How many of the views of all points were imported from another counter. Null if this answer "
        "leaves imported views out: minutes, hours, and all points of a zone."
    ),
]


class Series(FromStores, frozen=True):
    """The views of one video over time, without gaps."""

    points: list[Point]
    imported: Imported
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits


class DayChange(Struct, frozen=True):
    """The numbers of a day after one change."""

    at: Time
    views: int
    marked: int
    reason: Annotated[str, Meta(description="Why the numbers changed.")]
    rules: Annotated[str, Meta(description="The rules by which views were marked.")]


class DayHistory(FromStores, frozen=True):
    """Every change of the views of a day, the oldest first; no change if no view of the day was ever marked.

    Imported views are left out.
    """

    video_id: str
    kind: str
    day: Day
    changes: list[DayChange]
