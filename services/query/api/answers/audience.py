"""Answers about who viewed a video, and from where."""

from typing import Annotated

from msgspec import Meta, Struct, field

from services.query.api.answers.about import (
    ArrivalsThrough,
    Day,
    FromStores,
    HistoryRevision,
    LateThrough,
    Missing,
    Time,
    Waits,
)

First = Annotated[Day, Meta(description="The first day (UTC).")]
End = Annotated[Day, Meta(description="The day after the last one.")]
Through = Annotated[
    Time | None,
    Meta(
        description="What was viewed before this time is in, save late events. It is no later than the first of "
        "`not_counted`; null if the first day is not counted."
    ),
]
NotCounted = Annotated[
    list[Day],
    Meta(
        description="Days within these whose views are counted, but not by what was asked for: those that were counted "
        "before the rollup did so. It is normally empty."
    ),
]


class BreakdownPart(Struct, frozen=True):
    """The views from one country, or by one class of devices."""

    name: Annotated[
        str,
        Meta(
            description="A country is two letters, in capitals. A device is as the client sent it, in lower case, or "
            '"other". It is empty where the country or the device is not known.'
        ),
    ]
    views: int


class Breakdown(FromStores, frozen=True):
    """The views of a video by country or device, over some days, the most viewed part first.

    Parts without views are left out, and so are imported views.
    """

    video_id: str
    kind: str
    by: str
    first: First = field(name="from")
    end: End = field(name="to")
    views: Annotated[int | None, Meta(description="The sum of all parts; null if none of these days is counted.")]
    parts: list[BreakdownPart]
    not_counted: NotCounted
    complete_through: Through
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits


class ViewersDay(Struct, frozen=True):
    """How many viewers a video had on a day."""

    day: Day
    viewers: Annotated[
        int | None,
        Meta(description="Different viewers, exactly; null if the viewers of that day are not counted, or not yet."),
    ]


class Viewers(FromStores, frozen=True):
    """How many viewers a video had, of the events that name one."""

    video_id: str
    kind: str
    first: First = field(name="from")
    end: End = field(name="to")
    viewers: Annotated[
        int | None,
        Meta(
            description="How many viewed on any of the days whose viewers are counted. It is estimated from a sketch "
            "of each day, unless `lower` and `upper` are equal: then it is exact. Null if no day is counted."
        ),
    ]
    lower: Annotated[int | None, Meta(description="In 95 of 100 answers, there are at least so many.")]
    upper: Annotated[int | None, Meta(description="In 95 of 100 answers, there are at most so many.")]
    days: list[ViewersDay]
    not_counted: NotCounted
    complete_through: Through
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
