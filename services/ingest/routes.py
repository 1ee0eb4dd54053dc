"""The ingest service's one table of paths, bodies and answers. Its routes and its description are made from it."""

from typing import Any

from services.access.operators import KEYS
from services.ingest import idempotency
from services.ingest.answers import Clock, NoSchema, Result, Tally
from services.ingest.cloud_events import CloudEvent
from services.ingest.events import EventsBody
from services.ingest.recent.answers import EVENTS_MAX, NoRecent, Recent
from services.openapi import HEALTHZ, JSON, Answer, Body, Operation, Parameter, describe, metrics

NDJSON = "application/x-ndjson"
AVRO = "application/avro"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
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

BATCH_IDS = "Batch-Ids"
CLOUD_EXAMPLE = {
    "specversion": "1.0",
    "type": "org.example.player.viewed",
    "source": "/player",
    "id": "1706-3",
    "time": "2026-01-01T12:00:00Z",
    "data": {"video_id": "A", "country": "DE"},
}

DRY_RUN = Parameter(
    "dry_run",
    "With true, the service answers as it would, and writes nothing.",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
)

IDEMPOTENCY_KEY = Parameter(
    idempotency.HEADER,
    "With it, events without ids count once if the same body is sent again with the same key: 1 to 128 visible ASCII "
    "characters. A UUIDv7 also gives the time of events that have none.",
    {"type": "string", "minLength": 1, "maxLength": 130},
    in_header=True,
)
KEY = Parameter("key", "A publishable key, for beacons of browsers, which send no headers of their own.")

KEY_ID = Parameter("key_id", "The public id of another key of the same project; the key that asks by default.")

EVENTS = Operation(
    "/v1/events",
    "Send view events.",
    Answer(
        "The accepted events are durable, in Kafka or in overflow; the rejected ones say why, one by one.",
        (Result,),
        limits=True,
        headers={
            BATCH_IDS: {
                "description": "For a key that asks for it: the batch_id in hex of each record on the events topic "
                "that has events of the body, separated by commas.",
                "schema": {"type": "string"},
            }
        },
    ),
    {
        400: Answer(
            "Nothing in the body is usable, or too many of its events are bad, or a secret key is in the address. "
            "Nothing was taken.",
            (Result,),
        ),
        401: Answer("There is no valid key.", (Result,)),
        403: Answer("The key may not do this; in open access, the request is of another machine or site.", (Result,)),
        408: Answer("The body came too slowly.", (Result,)),
        413: Answer("The body has too many bytes or events; send it in parts.", (Result,)),
        415: Answer("The content type is not one of these, or the encoding is neither gzip nor zstd.", (Result,)),
        422: Answer("A parameter or the Idempotency-Key is bad; nothing was taken.", (Result,)),
        429: Answer(
            "The caller has sent more than its limit, or too many events wait for Kafka; try again after Retry-After "
            "seconds.",
            (Result,),
            retry=True,
            limits=True,
        ),
        503: Answer(
            "None of it is durable, or there is no room for the body, or the process is behind; try again after "
            "Retry-After seconds, with the same ids.",
            (Result,),
            retry=True,
        ),
    },
    parameters=(DRY_RUN, KEY, IDEMPOTENCY_KEY),
    bodies=(
        Body(JSON, "events: a list of events", EventsBody, EXAMPLE),
        Body(NDJSON, "an event with the same fields on each line"),
        Body(AVRO, "an Avro object container of ViewEvent, with the codec null or deflate", is_binary=True),
        Body(CLOUD_EVENT, "a CloudEvent 1.0", CloudEvent, CLOUD_EXAMPLE),
        Body(CLOUD_EVENTS, "a list of CloudEvents 1.0"),
    ),
    description="A body may be sent in gzip or zstd, as Content-Encoding says. Its bounds hold for the unpacked bytes.",
    method="POST",
    status=202,
)
RECENT: Operation[Any] = Operation(
    "/v1/recent",
    f"What became of the last {EVENTS_MAX} events of a key? Also of those that were refused, and of bodies that were "
    "refused as a whole, and why.",
    Answer("The events, without viewer ids. Other processes' are some seconds behind.", (Recent,)),
    {
        400: Answer("There is a secret key in the address.", (NoRecent,)),
        401: Answer("There is no valid key.", (NoRecent,)),
        403: Answer(
            "The key is not one of the scopes write and admin; in open access, the request is of another machine or "
            "site.",
            (NoRecent,),
        ),
        404: Answer("The project has no such key.", (NoRecent,)),
        422: Answer("The parameter is not known.", (NoRecent,)),
        429: Answer("The key asks too often; ask again after Retry-After seconds.", (NoRecent,), retry=True),
    },
    (KEY_ID,),
)
TIME = Operation(
    "/v1/time",
    "What time is it? With this, a device whose clock is wrong corrects it before it makes ids and times.",
    Answer("The time now. No cache keeps it.", (Clock,)),
)
SCHEMA: Operation[Any] = Operation(
    "/v1/schemas/{name}",
    "An Avro schema of the product.",
    Answer("The schema as it is in the repository.", (dict,)),
    {404: Answer("There is no such schema.", (NoSchema,))},
    (
        Parameter(
            "name",
            "The name of a schema with its version, such as ViewEvent.v1. Without a version it is the newest, which "
            "readers of all events need.",
            in_path=True,
        ),
    ),
)
TALLY = Operation(
    "/v1/tally",
    "What this process has written, by minute of arrival, to compare with the ledger.",
    Answer("Events and records, heartbeats among them, that Kafka has acknowledged.", (Tally,)),
)
METRICS = metrics("What this process has done with events since its start, as metrics.")
READYZ: Operation[Any] = Operation(
    "/readyz",
    "Can events be written now?",
    Answer("Yes; further lines name partitions whose events are refused."),
    {503: Answer("No; the body says why.")},
)
OPENAPI = describe(
    "View counts: ingest",
    "Takes view events. 202 means that every event reported as accepted is durable, in Kafka or in overflow. A "
    "rejected event can be sent again, with the same id, without being counted twice.",
    [EVENTS, RECENT, TIME, SCHEMA, HEALTHZ, READYZ],
)
PRIVATE_OPENAPI = describe(
    "View counts: ingest, private port",
    "What operators and monitoring ask of one process. No key is needed, so only they may reach this port.",
    [TALLY, KEYS, METRICS, HEALTHZ, READYZ],
)
