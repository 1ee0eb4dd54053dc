"""The ingest service's OpenAPI 3.1 description."""

from typing import Any

from schemas.kinds import KIND_BYTES_MAX
from services.ingest.events import VIDEO_ID_BYTES_MAX
from services.openapi import metrics_route
from settings.version import VERSION

RESULT: dict[str, Any] = {
    "type": "object",
    "required": ["accepted", "rejected"],
    "properties": {
        "accepted": {"type": "integer", "description": "Events that Kafka has acknowledged."},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "field": {"type": ["string", "null"]},
                    "reason": {"type": "string"},
                },
            },
        },
        "event_ids": {
            "type": "array",
            "description": "Only when the service made ids: what to send again with, should it be needed.",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "event_id": {"type": "string", "format": "uuid"},
                    "viewed_at": {"type": "integer", "description": "ms since 1970, UTC"},
                },
            },
        },
        "ignored": {
            "type": "array",
            "description": "Names of fields that no event has, where there were some.",
            "items": {"type": "string"},
        },
    },
}
EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["video_id"],
    "properties": {
        "event_id": {
            "type": "string",
            "format": "uuid",
            "description": "The same id is the same event. Absent: the service makes one.",
        },
        "video_id": {"type": "string", "description": f"1 to {VIDEO_ID_BYTES_MAX} bytes of UTF-8"},
        "viewed_at": {
            "type": ["string", "integer"],
            "description": "RFC 3339 with an offset, cut off to the ms, or ms since 1970. Needed with an event_id, "
            "unless that is a UUIDv7, whose time is used; without an event_id it defaults to now.",
        },
        "kind": {"type": "string", "default": "view", "description": f"1 to {KIND_BYTES_MAX} bytes of UTF-8"},
        "viewer_id": {"type": ["string", "null"]},
        "country": {"type": ["string", "null"]},
        "device": {"type": ["string", "null"]},
    },
}
EXAMPLE = {
    "events": [
        {
            "event_id": "018f3c1e-7a10-7c3a-9d55-0a1b2c3d4e5f",
            "video_id": "A",
            "viewed_at": "2026-01-01T12:00:00Z",
            "country": "DE",
        }
    ]
}
TALLY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "producer_id": {"type": "string", "description": "Of this process, as its batches carry it."},
        "minutes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "start": {"type": "string", "format": "date-time"},
                    "events": {"type": "integer"},
                    "records": {"type": "integer"},
                },
            },
        },
    },
}


def _answer(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": RESULT}}}


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "View counts: ingest",
        "version": VERSION,
        "description": "Takes view events. 202 means that Kafka has every event reported as accepted; a "
        "rejected one can be sent again, with the same id, without being counted twice.",
    },
    "paths": {
        "/v1/events": {
            "post": {
                "summary": "Send view events.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["events"],
                                "description": "events: a list of events",
                                "properties": {"events": {"type": "array", "items": EVENT}},
                            },
                            "example": EXAMPLE,
                        },
                        "application/x-ndjson": {
                            "schema": {
                                "type": "string",
                                "description": "an event of the same fields on each line",
                            }
                        },
                        "application/avro": {
                            "schema": {
                                "type": "string",
                                "format": "binary",
                                "description": "an Avro object container of ViewEvent, codec null or deflate",
                            }
                        },
                    },
                },
                "responses": {
                    "202": _answer("Kafka has the accepted events; the rejected ones say why, one by one."),
                    "400": _answer("Nothing in the body is usable."),
                    "413": _answer("The body has too many bytes or events; send it in parts."),
                    "415": _answer("Not one of the three content types, or a Content-Encoding."),
                    "429": _answer("Too many events are on their way; try again after Retry-After seconds."),
                    "503": _answer("Kafka took none of it; try again after Retry-After seconds, with the same ids."),
                },
            }
        },
        "/v1/tally": {
            "get": {
                "summary": "What this process has written, by minute of arrival, to compare with the ledger.",
                "responses": {
                    "200": {
                        "description": "Events and records, heartbeats among them, that Kafka has acknowledged.",
                        "content": {"application/json": {"schema": TALLY}},
                    }
                },
            }
        },
        "/metrics": metrics_route("What this process has done with events since its start, as metrics."),
        "/healthz": {"get": {"summary": "Is the process alive?", "responses": {"200": {"description": "Yes."}}}},
        "/readyz": {
            "get": {
                "summary": "Can events be written now?",
                "responses": {
                    "200": {"description": "Yes."},
                    "503": {"description": "No; the body says why."},
                },
            }
        },
    },
}
