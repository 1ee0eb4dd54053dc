"""Reads all that is listened to, at the same time. What is read at the same time is read together below."""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.json_answer import ENCODER
from services.query.api.answers.live import LiveTop, LiveViews
from services.query.api.endpoints.asked import Asked
from services.query.api.endpoints.top import Top
from services.query.api.endpoints.videos import Videos
from services.query.api.live.states import Place, State, Subject, id_of
from services.query.counts.completeness import HistoryState
from services.query.counts.series import days_of_total, naive
from services.query.counts.top import TopQuestion

# Two hours of the lists, and of the lists of kinds.
PARTITIONS_OF_LIST = 4


@dataclass(frozen=True)
class TotalOf:
    """Who listens to this hears the total of a video."""

    video_id: str
    kind: str


class Reading:
    """Reads the newest states of TotalOf and TopQuestion, each as its own answer."""

    def __init__(self, asked: Asked, videos: Videos, top: Top) -> None:
        self._asked = asked
        self._videos = videos
        self._top = top
        self._days_of_total = 1

    def cost(self, subject: Subject) -> int:
        """How many partitions are read for it that may have rows, by what the last reading has read.

        Blocked views and tomorrow's are asked for, too. As a rule there are none, which costs next to nothing.
        """
        return self._days_of_total if isinstance(subject, TotalOf) else PARTITIONS_OF_LIST

    async def read(self, subjects: Sequence[Subject], every_s: int) -> dict[Subject, State | Exception]:
        """The state of each of them, or why there is none."""
        # What is held is as old, however often it is asked for.
        every_s = max(every_s, math.ceil(self._asked.settings.query.fresh_ms / 1000))
        with contextlib.suppress(ConnectionError):
            self._days_of_total = self._days(await self._asked.history())
        found = await asyncio.gather(*(self._read(one, every_s) for one in subjects))
        return dict(zip(subjects, found, strict=True))

    async def _read(self, subject: Subject, every_s: int) -> State | Exception:
        try:
            if isinstance(subject, TotalOf):
                return await self._total(subject, every_s)
            assert isinstance(subject, TopQuestion)
            return await self._list(subject, every_s)
        # Whatever it is, the others are read.
        except Exception as error:
            return error

    async def _total(self, subject: TotalOf, every_s: int) -> State:
        answer = await self._videos.total(subject.video_id, subject.kind)
        place = Place(answer.history_revision, answer.views)
        return State("views", ENCODER.encode(LiveViews(**_fields(answer), every_s=every_s)), id_of(place), place)

    async def _list(self, question: TopQuestion, every_s: int) -> State:
        answer = await self._top.of_stream(question)
        return State("top", ENCODER.encode(LiveTop(**_fields(answer), every_s=every_s)), answer.minute or "none")

    def _days(self, history: HistoryState) -> int:
        today = self._asked.now().date()
        days = days_of_total(today, self._asked.settings.query.minutes_kept_days)
        return max(1, sum(naive(history.end).date() <= day <= today for day in days))


def _fields(answer: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in answer.__struct_fields__}
