"""The media types that a body may have, and the parser of each. Knows no HTTP library."""

from collections.abc import Mapping

from services.ingest.cloud_events import parse_cloud_event, parse_cloud_events
from services.ingest.events import BodyError, Parsed, Terms, parse_avro, parse_json, parse_ndjson
from services.ingest.routes import AVRO, CLOUD_EVENT, CLOUD_EVENTS, NDJSON
from services.openapi import JSON, TEXT
from services.refused import RefusedError

_BRACES_OF_EVENT = 2
_COMMAS_OF_EVENT = 16
# A browser sends text/plain to another origin without asking first, and even while its page is closed.
JSON_TYPES = frozenset({JSON, TEXT})
NDJSON_TYPES = frozenset({NDJSON, "application/ndjson", "application/jsonl"})
CLOUD_TYPES = frozenset({CLOUD_EVENT, CLOUD_EVENTS})
AVRO_TYPES = frozenset({AVRO, "application/vnd.apache.avro", "avro/binary"})


def media_of(headers: Mapping[str, str]) -> str:
    """The media type of the body. Raises RefusedError (415) for a type that is not taken."""
    media = headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media not in JSON_TYPES | NDJSON_TYPES | AVRO_TYPES | CLOUD_TYPES:
        wrong = f"{media} is not supported" if media else "is missing"
        raise RefusedError(415, f"Content-Type {wrong}; send {JSON}, {NDJSON}, {AVRO}, {CLOUD_EVENT} or {CLOUD_EVENTS}")
    return media


def parse(media: str, body: bytes, terms: Terms, *, unpacked_bytes_max: int) -> Parsed:
    """The events of a body. Raises RefusedError (400) if nothing in it can be read."""
    try:
        if media in JSON_TYPES:
            return parse_json(body, terms)
        if media in NDJSON_TYPES:
            return parse_ndjson(body, terms)
        if media == CLOUD_EVENT:
            return parse_cloud_event(body, terms)
        if media == CLOUD_EVENTS:
            return parse_cloud_events(body, terms)
        return parse_avro(body, terms, unpacked_bytes_max=unpacked_bytes_max)
    except BodyError as error:
        raise RefusedError(400, str(error)) from error


def check_events(media: str, body: bytes, events_max: int) -> None:
    """Refuse a body that has far too many events before anything of it is read. Raises RefusedError (413).

    An event in JSON has a brace, and seldom two: its known fields have no values within values. It has fewer commas
    than fields, unless it has long values that nobody knows.
    """
    if media in JSON_TYPES:
        few = (
            body.count(b"{") <= _BRACES_OF_EVENT * events_max + 1 and body.count(b",") <= _COMMAS_OF_EVENT * events_max
        )
    else:
        few = media not in NDJSON_TYPES or body.count(b"\n") <= events_max
    if not few:
        raise too_many(events_max)


def too_many(events_max: int) -> RefusedError:
    """The refusal of a body with more events than it may have."""
    return RefusedError(413, f"more than {events_max} events in one body; send it in parts")
