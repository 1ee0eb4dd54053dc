"""Reads numbers of several kinds at once: those that are asked for, or those that a video has."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import UNSET, UnsetType

from schemas.kinds import blocked
from services.access.caller import Caller
from services.query.api.answers.kinds import KindViews
from services.query.api.parameters.kinds import KindsAsked
from services.query.api.texts import time_text
from services.query.counts.completeness import HistoryState
from services.query.counts.known import Known
from services.query.counts.store import CountStore
from services.query.counts.totals import Total


@dataclass(frozen=True)
class Found:
    """The kinds of each video, and what an answer says about them."""

    names: Mapping[str, Sequence[str]]
    is_all: bool
    through: str | UnsetType | None = UNSET
    left_out: Mapping[str, int] | None = None

    def left_out_of(self, video_id: str) -> int | UnsetType:
        """How many kinds of the video are not among them."""
        return UNSET if self.left_out is None else self.left_out[video_id]

    @property
    def all_left_out(self) -> dict[str, int] | UnsetType:
        """The same by video, of those that have any."""
        if self.left_out is None:
            return UNSET
        return {video_id: number for video_id, number in self.left_out.items() if number}


async def find_kinds(
    store: CountStore, caller: Caller, asked: KindsAsked, video_ids: Sequence[str], history: HistoryState
) -> Found:
    """The kinds that are asked for, without those that the caller may not name if all are. Raises HistoryAwayError."""
    if not asked.is_all:
        return Found(dict.fromkeys(video_ids, asked.names), is_all=False)
    found = await store.kinds_of(video_ids, history)
    return Found(
        {
            video_id: [kind for kind in of_video.kinds if caller.kind_refusal(kind) is None]
            for video_id, of_video in found.items()
        },
        is_all=True,
        through=time_text(history.through),
        left_out={video_id: of_video.left_out for video_id, of_video in found.items()},
    )


async def read_totals(
    store: CountStore, found: Found, known: Known, *, now: datetime
) -> tuple[dict[str, list[KindViews]], Known]:
    """The totals of these kinds of these videos, and what was known before any of them was read.

    Where all kinds are asked for, those without any view are left out. What is held of a kind is held for everybody who
    asks for that kind, alone or with others.
    """
    videos_of: dict[str, list[str]] = {}
    for video_id, kinds in found.names.items():
        for kind in kinds:
            videos_of.setdefault(kind, []).append(video_id)
    read = await asyncio.gather(
        *(store.totals_of_many(videos, (kind, blocked(kind)), known, now=now) for kind, videos in videos_of.items())
    )
    totals = {
        (video_id, kind): total
        for (kind, videos), of_kind in zip(videos_of.items(), read, strict=True)
        for video_id, total in zip(videos, of_kind, strict=True)
    }
    shown = {
        video_id: [one for kind in kinds if _is_shown(one := _total(kind, totals[video_id, kind]), found)]
        for video_id, kinds in found.names.items()
    }
    return shown, min([known, *(total.known for total in totals.values())], key=lambda one: one.began_s)


def _is_shown(one: KindViews, found: Found) -> bool:
    return not found.is_all or bool(one.views or one.blocked)


def sums(totals: Iterable[KindViews]) -> list[KindViews]:
    """The sums by kind, in the order in which kinds come first."""
    found: dict[str, KindViews] = {}
    for one in totals:
        had = found.get(one.kind)
        found[one.kind] = one if had is None else _added(had, one)
    return list(found.values())


def _added(one: KindViews, other: KindViews) -> KindViews:
    return KindViews(
        one.kind,
        one.views + other.views,
        one.imported + other.imported,
        one.blocked + other.blocked,
        one.late_added + other.late_added,
    )


def _total(kind: str, total: Total) -> KindViews:
    (views, not_counted), (imported, _) = total.views, total.imported
    return KindViews(kind, views + imported, imported, not_counted, total.late_added[0])
