"""The media types that a body may have, and the parser of each. Knows no HTTP library."""

from collections.abc import Mapping

from services.ingest.cloud_events import parse_cloud_event, parse_cloud_events
from services.ingest.events import BodyError, Parsed, Terms, parse_avro, parse_json, parse_ndjson
from services.ingest.routes import AVRO, CLOUD_EVENT, CLOUD_EVENTS, NDJSON
from services.openapi import JSON, TEXT
from services.refused import RefusedError

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
