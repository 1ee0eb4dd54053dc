"""Answers with streams: what is asked for, whenever it changes."""

import time

from services.query.api.endpoints.videos import video_and_kind
from services.query.api.live.event_stream import EventStream, MayStay
from services.query.api.live.hub import Hub
from services.query.api.live.listener import Listener
from services.query.api.live.reading import TotalOf
from services.query.api.live.states import Subject, place_of
from services.query.api.parameters.live import read_events_max
from services.query.api.parameters.top import read_live_top
from services.query.api.question import Question


class Live:
    """The operations of services.query.api.operations.live.

    `last_id` is the id of the last event that a client has which comes back; "" of one that is new. They raise
    ParameterError, RefusedError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def views(self, question: Question, last_id: str, may_stay: MayStay) -> EventStream:
        """The total of a video."""
        return await self._stream(TotalOf(*video_and_kind(question)), question, last_id, may_stay)

    async def top(self, question: Question, last_id: str, may_stay: MayStay) -> EventStream:
        """A list of the stream."""
        return await self._stream(read_live_top(question.query_params), question, last_id, may_stay)

    async def _stream(self, subject: Subject, question: Question, last_id: str, may_stay: MayStay) -> EventStream:
        events_max = read_events_max(question.query_params)
        said = place_of(last_id)
        listener = Listener(
            said, now_s=time.monotonic(), key=question.caller.key, may_stay=may_stay, events_max=events_max
        )
        await self._hub.listen(subject, listener)
        return EventStream(listener, lambda: self._hub.leave(subject, listener))
