"""The answers of the query service: what it encodes to JSON, and what its description is made from. Knows no HTTP.

Times are text, as clients see them: UTC with a Z, and days of a zone at the offset of the zone. The docstrings and
descriptions below are part of the OpenAPI description.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Day = Annotated[str, Meta(extra_json_schema={"format": "date"})]
CompleteThrough = Annotated[
    Time | None,
    Meta(
        description="Minutes that end by then are final, except for late events; later minutes still grow. Null until "
        "every shard of the count job has closed a minute."
    ),
]
# What an answer says about the history that it came from.
LateThrough = Annotated[
    Time | None,
    Meta(description="History contains the late events that arrived before this time; null before the first rollup."),
]
HistoryRevision = Annotated[
    int,
    Meta(description="The state of history that the answer came from. It grows with every rollup and repair."),
]


class MissingSpan(Struct, frozen=True):
    """A time viewed for which records are missing."""

    start: Annotated[
        Time | None,
        Meta(description="In the answer of a total it is null if any record viewed before `to` may be missing."),
    ] = field(name="from")
    end: Annotated[Time, Meta(description="Not included.")] = field(name="to")


Missing = Annotated[
    list[MissingSpan],
    Meta(
        description="The times viewed, within what was asked for, for which records are missing: in the archive, or in "
        "Kafka if the answer comes from minutes of the stream. There may have been more views. It is normally empty."
    ),
]


class Waiting(Struct, frozen=True):
    """Events that were acknowledged and wait in overflow, because Kafka did not take them."""

    events: Annotated[int, Meta(description="How many may belong to the answer. None of them may be counted yet.")]
    since: Annotated[Time, Meta(description="Since when the oldest of them waits.")]


ArrivalsThrough = Annotated[
    Time | None,
    Meta(description="Each event that was acknowledged before this time is in, save late ones. Null if nobody knows."),
]
Waits = Annotated[
    Waiting | None,
    Meta(
        description="What waits in overflow of the times that were asked for. While anything does, these times are not "
        "complete. Null if nothing does."
    ),
]


class VideoViews(Struct, frozen=True):
    """The total of one video."""

    video_id: str
    kind: str
    views: int
    imported: Annotated[int, Meta(description="How many of `views` were imported from another counter.")]
    blocked: Annotated[int, Meta(description="Views of blocked viewers, which are not in `views`.")]
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits


class Point(Struct):
    """The views of one minute, hour or day."""

    start: Annotated[Time, Meta(description="In UTC; with `zone`, at the offset of the zone at that time.")]
    views: int
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
            description="Only days of UTC have it, and only if some of `views` were imported from another counter: how "
            "many."
        ),
    ] = UNSET


class Series(Struct, frozen=True):
    """The views of one video over time, without gaps."""

    points: list[Point]
    imported: Annotated[
        int | None,
        Meta(
            description="How many of the views of all points were imported from another counter. Null if this answer "
            "leaves imported views out: minutes, hours, and days of a zone."
        ),
    ]
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


class DayHistory(Struct, frozen=True):
    """Every change of the views of a day, the oldest first; no change if no view of the day was ever marked.

    Imported views are left out.
    """

    video_id: str
    kind: str
    day: Day
    changes: list[DayChange]


class ChannelPoint(Struct, frozen=True):
    """The views of a channel's videos in one hour."""

    start: Time
    views: Annotated[
        int | None,
        Meta(description="Null for hours that are not counted yet, and for hours that the table may have dropped."),
    ]


class ChannelSeries(Struct, frozen=True):
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


class TopVideos(Struct, frozen=True):
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


class ClosedTopVideos(Struct, frozen=True):
    """A list of span=clock_hour or day, the first place first. It is exact, and late events are in it.

    Imported views are left out.
    """

    kind: str
    span: str
    country: str
    start: Annotated[
        Time | None,
        Meta(description="When the hour or day begins; null if there is no list, and `videos` is then empty."),
    ]
    videos: list[CountedVideo]
    complete_through: Annotated[
        Time | None,
        Meta(description="The list has the views before this time; null if there is no list."),
    ]
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits


Balanced = Annotated[bool, Meta(description="Whether every event received has exactly one fate.")]


class Tally(Struct, frozen=True):
    """How many events were received, how many had which fate, and how many Kafka records they came in."""

    received: int
    counted: int
    duplicate: int
    late: int
    invalid: int
    blocked: int
    dead_lettered: int
    records: int
    unreadable_records: int
    clamped_records: int
    balanced: Balanced


class TallyMinute(Struct, frozen=True):
    """The numbers of the ledger for the events that arrived in one minute."""

    start: Time
    received: int
    counted: int
    duplicate: int
    late: int
    invalid: int
    blocked: int
    dead_lettered: int
    records: int
    unreadable_records: int
    clamped_records: int
    balanced: Balanced


class Ledger(Struct, frozen=True):
    """The minutes in which anything arrived, in order, and their sum."""

    minutes: list[TallyMinute]
    total: Tally


class BadParameter(Struct, frozen=True):
    """A parameter that cannot be used, and what it may be."""

    field: str
    value: str
    reason: str


class BadParameters(Struct, frozen=True):
    """The parameters that cannot be used."""

    errors: list[BadParameter]


class Away(Struct, frozen=True):
    """What cannot be read now, and why."""

    error: str
