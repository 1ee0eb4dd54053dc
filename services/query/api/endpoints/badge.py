"""Answers with a picture of a total."""

import asyncio

from services.query.api.badge import badge
from services.query.api.endpoints.videos import Videos, video_and_kind
from services.query.api.parameters.badge import read_look
from services.query.api.question import Question
from services.query.titles.following import Following


class Badges:
    """The operations of services.query.api.operations.badge.

    They raise ParameterError, StoreAwayError and HistoryAwayError: there is no picture of a number that nobody knows.
    """

    def __init__(self, videos: Videos, following: Following | None) -> None:
        self._videos = videos
        self._following = following

    async def badge(self, question: Question) -> bytes:
        """The total of a video, as SVG."""
        video_id, kind = video_and_kind(question)
        label, color = read_look(question.query_params)
        total = await self._videos.total(video_id, kind)
        # A key that everybody knows is for totals alone.
        of = video_id if question.caller.is_publishable else await self._name_of(video_id)
        return badge(total.views, of=of, label=label, color=color)

    async def _name_of(self, video_id: str) -> str:
        """Its title, if that is known."""
        if self._following is None:
            return video_id
        # In a thread, because the index may be taking over what is new.
        about = await asyncio.to_thread(self._following.index.get, video_id)
        return video_id if about is None else about.title
