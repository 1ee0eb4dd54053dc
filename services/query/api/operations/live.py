"""What can be listened to."""

from dataclasses import replace

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.live import End, LiveAway, LiveTop, LiveViews, Lowered
from services.query.api.live.event_stream import MEDIA
from services.query.api.operations.shared import KIND, REFUSALS, VIDEO, choice, refusal
from services.query.api.operations.top import TOP
from services.query.api.parameters.live import EVENTS_MAX
from services.query.api.parameters.top import DEFAULT_SPAN, SPANS

_EVENTS = Parameter(
    "events",
    "The stream ends after so many events; never by default.",
    {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX},
)
_LAST = Parameter("Last-Event-ID", "The id of the last event that the client has, as browsers send it.", in_header=True)
_REFUSALS = {
    **REFUSALS,
    503: refusal(
        "What was asked for cannot be read, or the process has as many listeners as it may, or is about to stop; try "
        "again after Retry-After seconds.",
        retry=True,
    ),
}
_HOW = (
    "The newest state comes at once, and then whenever it has changed. All that is listened to is read together, once "
    "a second, or every `every_s` seconds while that is more. A comment comes each 15 seconds. Further events: `away` "
    "when nothing can be read, `lowered` before a number that is lower than the last one, `end` before the stream ends."
)
LIVE_VIEWS = Operation(
    "/v1/videos/{video_id}/live",
    "The total of one video, as it changes: server-sent events.",
    Answer("Events `views`.", (LiveViews, Lowered, LiveAway, End), media=MEDIA),
    _REFUSALS,
    (VIDEO, KIND, _EVENTS, _LAST),
    description=_HOW,
)
LIVE_TOP = Operation(
    "/v1/top/live",
    "The most viewed videos, as the list changes: server-sent events.",
    Answer("Events `top`.", (LiveTop, Lowered, LiveAway, End), media=MEDIA),
    _REFUSALS,
    (
        KIND,
        replace(
            next(one for one in TOP.parameters if one.name == "span"),
            text='"hour": the last 60 minutes; "minute": the last one; "trending": the hour, by growth against the 60 '
            "minutes before it.",
            schema=choice(SPANS, default=DEFAULT_SPAN),
        ),
        next(one for one in TOP.parameters if one.name == "limit"),
        _EVENTS,
        _LAST,
    ),
    description=_HOW,
)
