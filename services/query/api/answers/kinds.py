"""Answers about several kinds of events at once. What is asked about one kind has answers of its own."""

from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from services.query.api.answers.about import (
    ArrivalsThrough,
    CompleteThrough,
    FromStores,
    HistoryRevision,
    LateAdded,
    LateThrough,
    Missing,
    Time,
    Waits,
)
from services.query.api.answers.videos import Imported, Point

KindsThrough = Annotated[
    Time | UnsetType | None,
    Meta(
        description="Only answers to kind=* have it: kinds that were first viewed since then are known only if they "
        "are declared. Null before the first rollup."
    ),
]
KindsLeftOut = Annotated[
    int | UnsetType,
    Meta(
        description="Only answers to kind=* have it: how many kinds of the video are not in the answer, since it has "
        "more than are listed. They are those that are viewed least."
    ),
]


class KindViews(Struct, frozen=True):
    """The total of one kind of events."""

    kind: str
    views: int
    imported: Annotated[int, Meta(description="How many of `views` were imported from another counter.")]
    blocked: Annotated[int, Meta(description="Views of blocked viewers, which are not in `views`.")]
    late_added: LateAdded


class VideoKinds(FromStores, frozen=True, kw_only=True):
    """The totals of one video by kind: the answer where several kinds are asked for."""

    ROWS: ClassVar[str] = "kinds"
    video_id: str
    kinds: list[KindViews]
    kinds_through: KindsThrough = UNSET
    kinds_left_out: KindsLeftOut = UNSET
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits


class KindSeries(Struct, frozen=True):
    """The views of one kind over time, without gaps."""

    kind: str
    points: list[Point]
    imported: Imported


class SeriesByKind(FromStores, frozen=True, kw_only=True):
    """The views of one video over time by kind: the answer where several kinds are asked for."""

    ROWS: ClassVar[str] = "kinds"
    kinds: list[KindSeries]
    kinds_through: KindsThrough = UNSET
    kinds_left_out: KindsLeftOut = UNSET
    complete_through: CompleteThrough
    late_through: LateThrough
    history_revision: HistoryRevision
    missing: Missing
    arrivals_through: ArrivalsThrough
    waiting: Waits
