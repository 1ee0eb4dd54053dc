"""What many answers say about themselves: how complete they are, and what they lack."""

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


# What a point says about itself.
PointComplete = Annotated[
    bool,
    Meta(
        description="Whether the point is final, except for late events: its time is over, the stream has closed it or "
        "the rollup has counted it, no event of it waits in overflow, and no records of it are missing."
    ),
]
LateAdded = Annotated[
    int,
    Meta(description="How many of `views` came after their minute had closed, so that the rollup has added them."),
]
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


class Degraded(Struct, frozen=True):
    """Something that the answer lacks, or that is old, because it cannot be read now."""

    what: Annotated[
        str,
        Meta(
            description="history: points before `to` are known to history alone, and are null. answer: everything, so "
            "that this is the last answer that was known, of the time `as_of`."
        ),
    ]
    reason: str
    start: Annotated[Time | UnsetType, Meta(description="Of history: the first point that is null.")] = field(
        name="from", default=UNSET
    )
    end: Annotated[Time | UnsetType, Meta(description="Of history: the first point that is known.")] = field(
        name="to", default=UNSET
    )


class FromStores(Struct, frozen=True, kw_only=True):
    """What an answer says when a store does not answer. While all do, it has none of these fields."""

    degraded: Annotated[
        list[Degraded] | UnsetType,
        Meta(
            description="What is missing or old, because a store does not answer. An answer without it lacks nothing."
        ),
    ] = UNSET
    as_of: Annotated[
        Time | UnsetType,
        Meta(description="Only the last answer that was known has it: when that was read. All of it is of that time."),
    ] = UNSET
