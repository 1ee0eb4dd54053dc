"""The query service's one table of paths, parameters and answers. Its routes and its description are made from it."""

from collections.abc import Iterable
from typing import Any

from services.access.operators import KEYS
from services.openapi import HEALTHZ, Answer, Operation, Parameter, describe, metrics
from services.query.api.answers import (
    Away,
    BadParameters,
    ChannelSeries,
    ClosedTopVideos,
    DayHistory,
    Ledger,
    Series,
    TopVideos,
    VideoViews,
)
from services.query.api.parameters import (
    CHANNEL_GRANULARITY,
    CLOSED_SPANS,
    DEFAULT_GRANULARITY,
    DEFAULT_KIND,
    DEFAULT_LIMIT,
    DEFAULT_SPAN,
    EVERYWHERE,
    SPANS,
    STEPS,
    TOP_MAX,
)


def _choice(names: Iterable[str], default: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names), "default": default}


def _text(default: str) -> dict[str, Any]:
    return {"type": "string", "default": default}


VIDEO = Parameter("video_id", "The video. A slash in its name is sent as it is.", in_path=True)
KIND = Parameter("kind", f'What is counted; "{DEFAULT_KIND}" by default.', _text(DEFAULT_KIND))
TO = Parameter("to", "RFC 3339 or ms since 1970; now by default. Not included.")
AWAY = Answer(
    "What was asked for cannot be read or is not counted yet; try again after Retry-After seconds.", (Away,), retry=True
)
REFUSALS: dict[int, Answer[Any]] = {
    400: Answer("There is a secret key in the address.", (Away,)),
    401: Answer("There is no valid key.", (Away,)),
    403: Answer("The key may not ask for this; in open access, the request is of another machine or site.", (Away,)),
    422: Answer("A parameter is bad; the answer names it.", (BadParameters,)),
    503: AWAY,
}

VIEWS = Operation(
    "/v1/videos/{video_id}/views",
    "The total of one video; 0 for one that nobody has viewed.",
    Answer("The total.", (VideoViews,)),
    REFUSALS,
    (VIDEO, KIND),
)
SERIES = Operation(
    "/v1/videos/{video_id}/series",
    "Views of one video by the minute, hour or day they were viewed in, without gaps.",
    Answer("The points in order.", (Series,)),
    REFUSALS,
    (
        VIDEO,
        KIND,
        Parameter(
            "granularity", '"minute" (by default), "hour" or "day".', _choice(STEPS, default=DEFAULT_GRANULARITY)
        ),
        Parameter(
            "from",
            "RFC 3339 or ms since 1970. By default it is an hour before `to` for minutes, a day for hours, and 30 days "
            "for days.",
        ),
        TO,
        Parameter(
            "zone",
            "With granularity=day: days of this zone of the IANA database, from midnight to midnight there, 23 or 25 "
            "hours long where clocks change. Days of UTC by default.",
            {"type": "string", "examples": ["Europe/Berlin", "Asia/Kathmandu"]},
        ),
    ),
    description="Views may be of any age. Minutes of the last week and hours of the last 14 weeks come from Cassandra, "
    "older ones from history in the object store. Late events are in what history has counted: in complete hours and "
    "days, and in minutes that come from history. If history cannot be read, the answer is 503; an answer is never "
    "partial.",
)
HISTORY = Operation(
    "/v1/videos/{video_id}/history",
    "How the views of a day and the marked views among them have changed, for a video with marked views.",
    Answer("Every change, the oldest first; none if no view of the day was ever marked.", (DayHistory,)),
    REFUSALS,
    (VIDEO, KIND, Parameter("day", "The day (UTC), such as 2026-01-31.", required=True)),
)
CHANNEL = Operation(
    "/v1/channels/{channel_id}/series",
    "Views of a channel's videos by the hour, without gaps.",
    Answer("The points in order.", (ChannelSeries,)),
    REFUSALS,
    (
        Parameter("channel_id", "The channel.", in_path=True),
        KIND,
        Parameter("granularity", "Hours.", _choice([CHANNEL_GRANULARITY], default=CHANNEL_GRANULARITY)),
        Parameter("from", "RFC 3339 or ms since 1970; a day before `to` by default."),
        TO,
    ),
    description="The rollup counts complete hours, and the service answers those of the last 99 days. A video belongs "
    "to the channel that its metadata named when the hour was counted.",
)
TOP = Operation(
    "/v1/top",
    "The most viewed videos, or those that grow fastest.",
    Answer[TopVideos | ClosedTopVideos](
        "The list, the first place first. If there is none, `videos` is empty and `minute` or `start` is null.",
        (TopVideos, ClosedTopVideos),
    ),
    REFUSALS,
    (
        KIND,
        Parameter(
            "span",
            '"hour": the 60 minutes that end with `minute`; "minute": that minute; "trending": the hour, by growth '
            'against the 60 minutes before it. "clock_hour" and "day": a complete hour or a day (UTC) as the rollup '
            "counted it, with late events; the answer then has `country` and `start` in place of `minute`, and only "
            "the views of each video.",
            _choice((*SPANS, *CLOSED_SPANS), default=DEFAULT_SPAN),
        ),
        Parameter(
            "country", "Two letters: only views from there. With span=clock_hour or span=day.", _text(EVERYWHERE)
        ),
        Parameter(
            "limit",
            "How many videos.",
            {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": DEFAULT_LIMIT},
        ),
        Parameter("at", "A time in the minute, hour or day, RFC 3339 or ms since 1970; the newest list by default."),
    ),
)
LEDGER = Operation(
    "/v1/ledger",
    "What became of every event, by the minute it arrived in.",
    Answer("The minutes in which anything arrived, in order, and their sum.", (Ledger,)),
    REFUSALS,
    (
        Parameter("from", "RFC 3339 or ms since 1970; an hour before `to` by default, and a day before it at most."),
        TO,
    ),
)
METRICS = metrics(
    "The newest minute of the ledger that is surely written, and how far counting and history are, as metrics.",
    {503: AWAY},
)
READYZ: Operation[Any] = Operation(
    "/readyz",
    "Can counts be read now?",
    Answer("Yes. Each line after the first says what is wrong with history or the stream."),
    {503: Answer("No; the body says why.", (Away,), retry=True)},
)
OPENAPI = describe(
    "View counts: query",
    "How often each video was viewed, in total and by the minute, hour or day; which videos are viewed most; and what "
    "became of every event. Times are UTC unless a zone is named.",
    [VIEWS, SERIES, HISTORY, CHANNEL, TOP, LEDGER, HEALTHZ, READYZ],
)
PRIVATE_OPENAPI = describe(
    "View counts: query, private port",
    "What monitoring asks of one process. No key is needed, so only operators may reach this port.",
    [KEYS, METRICS, HEALTHZ, READYZ],
)
