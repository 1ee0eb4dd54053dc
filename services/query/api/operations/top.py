"""Which lists of videos there are."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.top import ClosedTopVideos, TopVideos
from services.query.api.operations.shared import KIND, REFUSALS, TRUST, choice, text
from services.query.api.parameters.top import CLOSED_SPANS, DEFAULT_LIMIT, DEFAULT_SPAN, EVERYWHERE, SPANS, TOP_MAX

TOP = Operation(
    "/v1/top",
    "The most viewed videos, or those that grow fastest.",
    Answer[TopVideos | ClosedTopVideos](
        "The list, the first place first. If there is none, `videos` is empty and `minute` or `start` is null.",
        (TopVideos, ClosedTopVideos),
        headers=TRUST,
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
            choice((*SPANS, *CLOSED_SPANS), default=DEFAULT_SPAN),
        ),
        Parameter("country", "Two letters: only views from there. With span=clock_hour or span=day.", text(EVERYWHERE)),
        Parameter(
            "channel",
            "With span=day: only videos of this channel, by the metadata of each when the rollup last counted the day.",
        ),
        Parameter(
            "limit",
            "How many videos.",
            {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": DEFAULT_LIMIT},
        ),
        Parameter("at", "A time in the minute, hour or day, RFC 3339 or ms since 1970; the newest list by default."),
        Parameter("cursor", "With span=clock_hour or span=day: `next` of the page before, to get the places after it."),
    ),
    rows="videos",
)
