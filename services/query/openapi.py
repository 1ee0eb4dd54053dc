"""The query service's OpenAPI 3.1 description."""

from collections.abc import Iterable
from typing import Any

from services.openapi import metrics_route
from services.query.parameters import CLOSED_SPANS, EVERYWHERE, SPANS, TOP_MAX
from services.query.store import LEDGER_COLUMNS
from settings.version import VERSION

VIDEO = {
    "name": "video_id",
    "in": "path",
    "required": True,
    "description": "The video; a slash in it is sent as it is.",
    "schema": {"type": "string"},
}
KIND = {
    "name": "kind",
    "in": "query",
    "description": 'What is counted; "view" by default.',
    "schema": {"type": "string", "default": "view"},
}
COMPLETE = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "Minutes that end by then are final, but for late events; later ones still grow.",
}
# Of answers that history has a part in.
HISTORY: dict[str, Any] = {
    "late_through": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "Late events that arrived before are in what history has; null before the first rollup.",
    },
    "history_revision": {
        "type": "integer",
        "description": "The state of history that the answer came from; grows with every rollup and repair.",
    },
    "missing": {
        "type": "array",
        "description": "Times viewed, within what was asked for, of which records are missing, in the archive or, "
        "where minutes of the stream are the answer, since Kafka had them no longer: there may have been more views. "
        "Empty as a rule.",
        "items": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {
                "from": {
                    "type": ["string", "null"],
                    "format": "date-time",
                    "description": "Null, of a total: whatever was viewed before `to`.",
                },
                "to": {"type": "string", "format": "date-time", "description": "Not included."},
            },
        },
    },
}
MARKED = {
    "type": ["integer", "null"],
    "description": "Of days: how many of `views` are beyond the rules for what one viewer may view. Null until the day "
    "is complete, and where nobody who viewed is known.",
}
ERROR = {
    "type": "object",
    "properties": {"field": {"type": "string"}, "value": {"type": "string"}, "reason": {"type": "string"}},
}


def _time(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}


def _json(text: str, properties: dict[str, Any], optional: Iterable[str] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in set(optional)]
    shape = {"type": "object", "required": required, "properties": properties}
    return {"description": text, "content": {"application/json": {"schema": shape}}}


REFUSED: dict[str, Any] = {
    "422": _json("A parameter is bad; the answer names it.", {"errors": {"type": "array", "items": ERROR}}),
    "503": {
        "description": "What was asked for cannot be read or is not counted yet; try again after Retry-After seconds."
    },
}
TALLY: dict[str, Any] = {
    **{name: {"type": "integer"} for name in LEDGER_COLUMNS},
    "balanced": {"type": "boolean", "description": "Whether every event received has exactly one fate."},
}
ABOUT: dict[str, Any] = {
    **{name: {"type": ["string", "null"]} for name in ("title", "channel_id", "channel_name")},
    "created_at": {"type": ["string", "null"], "format": "date-time"},
}
HOURS: dict[str, Any] = {
    "points": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "start": {"type": "string", "format": "date-time"},
                "views": {
                    "type": ["integer", "null"],
                    "description": "Null of hours that are not counted yet, and of those that may have been dropped.",
                },
            },
        },
    },
    "complete_through": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "Hours that end by then have been counted; null before the first rollup.",
    },
    **HISTORY,
}
OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "View counts: query",
        "version": VERSION,
        "description": "How often each video was viewed, in total and by the minute, hour or day; which are viewed "
        "most; and what became of every event. Times are UTC, but where a zone is named.",
    },
    "paths": {
        "/v1/videos/{video_id}/views": {
            "get": {
                "summary": "The total of one video; 0 for one that nobody has viewed.",
                "parameters": [VIDEO, KIND],
                "responses": {
                    "200": _json(
                        "The total.",
                        {
                            "video_id": {"type": "string"},
                            "kind": {"type": "string"},
                            "views": {"type": "integer"},
                            "blocked": {"type": "integer", "description": "Views of blocked viewers; not in `views`."},
                            "complete_through": COMPLETE,
                            **HISTORY,
                        },
                    ),
                    **REFUSED,
                },
            }
        },
        "/v1/videos/{video_id}/series": {
            "get": {
                "summary": "Views of one video by the minute, hour or day they were viewed in, without gaps.",
                "description": "Of any age. Minutes of the last week and hours of the last 14 weeks are answered from "
                "Cassandra, older ones from history in the object store. Late events are in what history has counted: "
                "in complete hours and days, and in minutes that are answered from it. When that cannot be read, the "
                "answer is 503 and never a part.",
                "parameters": [
                    VIDEO,
                    {
                        "name": "granularity",
                        "in": "query",
                        "description": '"minute" (by default), "hour" or "day".',
                        "schema": {"type": "string", "enum": ["minute", "hour", "day"], "default": "minute"},
                    },
                    _time(
                        "from", "RFC 3339 or ms since 1970; an hour (a day of hours, 30 days) before `to` by default."
                    ),
                    _time("to", "RFC 3339 or ms since 1970; now by default. Not included."),
                    {
                        "name": "zone",
                        "in": "query",
                        "description": "With granularity=day: days of this zone of the IANA database, from midnight to "
                        "midnight there, 23 or 25 hours where clocks change. UTC's by default.",
                        "schema": {"type": "string", "examples": ["Europe/Berlin", "Asia/Kathmandu"]},
                    },
                    KIND,
                ],
                "responses": {
                    "200": _json(
                        "The points in order.",
                        {
                            "points": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "start": {
                                            "type": "string",
                                            "format": "date-time",
                                            "description": "In UTC; with `zone`, at the offset there then.",
                                        },
                                        "views": {"type": "integer"},
                                        "marked": MARKED,
                                    },
                                },
                            },
                            "complete_through": COMPLETE,
                            **HISTORY,
                        },
                    ),
                    **REFUSED,
                },
            }
        },
        "/v1/videos/{video_id}/history": {
            "get": {
                "summary": "What the views of a day have been, and which of them were marked, of a video with such.",
                "parameters": [VIDEO, {**_time("day", "The day (UTC), such as 2026-01-31."), "required": True}, KIND],
                "responses": {
                    "200": _json(
                        "Every change, the oldest first; none where no view of the day was ever marked.",
                        {
                            "video_id": {"type": "string"},
                            "kind": {"type": "string"},
                            "day": {"type": "string", "format": "date"},
                            "changes": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "at": {"type": "string", "format": "date-time"},
                                        "views": {"type": "integer"},
                                        "marked": {"type": "integer"},
                                        "reason": {"type": "string"},
                                        "rules": {"type": "string"},
                                    },
                                },
                            },
                        },
                    ),
                    **REFUSED,
                },
            }
        },
        "/v1/channels/{channel_id}/series": {
            "get": {
                "summary": "Views of a channel's videos by the hour, without gaps.",
                "description": "Of complete hours of the last 99 days: the rollup counts them. A video is its "
                "channel's by what was known of it when the hour was counted.",
                "parameters": [
                    {**VIDEO, "name": "channel_id", "description": "The channel."},
                    {
                        "name": "granularity",
                        "in": "query",
                        "description": "Hours.",
                        "schema": {"type": "string", "enum": ["hour"], "default": "hour"},
                    },
                    _time("from", "RFC 3339 or ms since 1970; a day before `to` by default."),
                    _time("to", "RFC 3339 or ms since 1970; now by default. Not included."),
                    KIND,
                ],
                "responses": {"200": _json("The points in order.", HOURS), **REFUSED},
            }
        },
        "/v1/top": {
            "get": {
                "summary": "The most viewed videos, or those that grow fastest.",
                "parameters": [
                    {
                        "name": "span",
                        "in": "query",
                        "description": '"hour": the 60 minutes that end with `minute`; "minute": that minute; '
                        '"trending": the hour, by growth against the 60 minutes before it. "clock_hour" and "day": a '
                        "complete hour or a day (UTC), as the rollup counted it, late events included; the answer then "
                        "has `country` and `start` in place of `minute`, and of videos just their views.",
                        "schema": {"type": "string", "enum": [*SPANS, *CLOSED_SPANS], "default": "hour"},
                    },
                    {
                        "name": "country",
                        "in": "query",
                        "description": "Two letters: views from there. With clock_hour and day.",
                        "schema": {"type": "string", "default": EVERYWHERE},
                    },
                    KIND,
                    {
                        "name": "limit",
                        "in": "query",
                        "description": "How many videos.",
                        "schema": {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": 10},
                    },
                    _time("at", "A time in the minute, hour or day, RFC 3339 or ms since 1970; the newest by default."),
                ],
                "responses": {
                    "200": _json(
                        "The list, first place first; empty, with minute null, where there is none.",
                        {
                            "kind": {"type": "string"},
                            "span": {"type": "string"},
                            "minute": {"type": ["string", "null"], "format": "date-time"},
                            "start": {"type": ["string", "null"], "format": "date-time"},
                            "country": {"type": "string"},
                            "videos": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "video_id": {"type": "string"},
                                        "views": {"type": "integer"},
                                        "before": {"type": "integer", "description": "Of trending only."},
                                        **ABOUT,
                                    },
                                },
                            },
                            "exact": {
                                "type": "boolean",
                                "description": "Whether no video can be missing: false where a shard had more kinds "
                                "than it ranks and left this one out. Of hour, minute and trending; the others are "
                                "exact.",
                            },
                            "not_exact_because": {
                                "type": ["string", "null"],
                                "description": "Why, and what to do about it.",
                            },
                            "complete_through": COMPLETE,
                            **HISTORY,
                        },
                        # Of closed hours and days, or of the others.
                        optional=("minute", "start", "country", "exact", "not_exact_because", *HISTORY),
                    ),
                    **REFUSED,
                },
            }
        },
        "/v1/ledger": {
            "get": {
                "summary": "What became of every event, by the minute it arrived in.",
                "parameters": [
                    _time("from", "RFC 3339 or ms since 1970; an hour before `to` by default, a day at most."),
                    _time("to", "RFC 3339 or ms since 1970; now by default. Not included."),
                ],
                "responses": {
                    "200": _json(
                        "Minutes in which anything arrived, in order, and their sum.",
                        {
                            "minutes": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {"start": {"type": "string", "format": "date-time"}, **TALLY},
                                },
                            },
                            "total": {"type": "object", "properties": TALLY},
                        },
                    ),
                    **REFUSED,
                },
            }
        },
        "/metrics": metrics_route("The ledger's newest settled minute, and how far counting is, as metrics."),
        "/healthz": {"get": {"summary": "Is the process alive?", "responses": {"200": {"description": "Yes."}}}},
        "/readyz": {
            "get": {
                "summary": "Can counts be read now?",
                "responses": {
                    "200": {"description": "Yes; lines after the first say what is wrong with history."},
                    "503": {"description": "No; the body says why."},
                },
            }
        },
    },
}
