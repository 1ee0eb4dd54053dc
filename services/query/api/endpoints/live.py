"""Answers with streams: what is asked for, whenever it changes."""

import time
from collections.abc import Callable

from starlette.requests import Request

from services.query.api.endpoints.videos import video_and_kind
from services.query.api.live.event_stream import EventStream, last_event_id
from services.query.api.live.hub import Hub
from services.query.api.live.listener import Listener
from services.query.api.live.reading import TotalOf
from services.query.api.live.states import Subject, place_of
from services.query.api.parameters.live import read_events_max
from services.query.api.parameters.top import read_live_top

# Says whether the caller may still listen.
MayStay = Callable[[], bool]


class Live:
    """The operations of services.query.api.operations.live.

    They raise ParameterError, RefusedError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def views(self, request: Request, may_stay: MayStay) -> EventStream:
        """The total of a video."""
        return await self._stream(TotalOf(*video_and_kind(request)), request, may_stay)

    async def top(self, request: Request, may_stay: MayStay) -> EventStream:
        """A list of the stream."""
        return await self._stream(read_live_top(request.query_params), request, may_stay)

    async def _stream(self, subject: Subject, request: Request, may_stay: MayStay) -> EventStream:
        events_max = read_events_max(request.query_params)
        said = place_of(last_event_id(request))
        listener = Listener(said, now_s=time.monotonic(), may_stay=may_stay, events_max=events_max)
        await self._hub.listen(subject, listener)
        return EventStream(listener, lambda: self._hub.leave(subject, listener))
