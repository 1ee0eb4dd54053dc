"""The answers of the ingest service: what it encodes to JSON, and what its description is made from. Knows no HTTP.

The docstrings and descriptions below are part of the OpenAPI description.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from services.ingest.packing import Made
from services.ingest.rejections import Rejection

BOUNDED = "bounded"
OVERFLOW = "overflow"


class Result(Struct):
    """What became of the events of one body."""

    accepted: Annotated[int, Meta(description="Events that are durable: in Kafka, or in overflow.")]
    rejected: list[Rejection]
    event_ids: Annotated[
        list[Made] | UnsetType,
        Meta(description="Only there if the service made ids: send these if you send the events again."),
    ] = UNSET
    ignored: Annotated[
        list[str] | UnsetType,
        Meta(
            description="Names of fields that no event has, and viewer_id if that of some event is a text such as "
            "undefined, which names no viewer: the event was taken without it. Only there if the body had some."
        ),
    ] = UNSET
    repeats: Annotated[
        str | UnsetType,
        Meta(
            description="Only there if an event has no time, and the body an Idempotency-Key without one. If the body "
            "is sent again, such an event counts once for some minutes only.",
            extra_json_schema={"enum": [BOUNDED]},
        ),
    ] = UNSET
    late: Annotated[
        int | UnsetType,
        Meta(
            description="How many of the accepted events were viewed so long ago that their minute is closed, by the "
            "service's clock: a rollup adds them later. Only there if there are any."
        ),
    ] = UNSET
    clock_off_ms: Annotated[
        int | UnsetType,
        Meta(
            description="By how much the sender's clock is ahead of the service's, or behind it if negative, with the "
            "time that the body took to arrive. Only there if the body has sent_at. No event was changed."
        ),
    ] = UNSET
    path: Annotated[
        str | UnsetType,
        Meta(
            description="Only there if some of the accepted events are in overflow, because Kafka does not take them "
            "now: they are counted later.",
            extra_json_schema={"enum": [OVERFLOW]},
        ),
    ] = UNSET
    error: Annotated[
        str | UnsetType,
        Meta(description="Why nothing in the body was taken; only there if the whole body was refused."),
    ] = UNSET


class NoSchema(Struct, frozen=True):
    """The answer for a schema that is not there."""

    error: Annotated[str, Meta(description="The names that there are.")]


class Clock(Struct, frozen=True):
    """The time by the service's clock."""

    now: Annotated[int, Meta(description="ms since 1970, UTC")]


class TallyMinute(Struct, frozen=True):
    """What Kafka has acknowledged of the events of one minute of arrival."""

    start: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    events: int
    records: Annotated[int, Meta(description="Kafka records, heartbeats among them.")]


class Tally(Struct, frozen=True):
    """What one process has written since its start."""

    producer_id: Annotated[str, Meta(description="The name of the process in the batches that it writes.")]
    minutes: list[TallyMinute]
    diverted: Annotated[int, Meta(description="Events of diverted keys since its start, which are in no minute here.")]
    stored: Annotated[int, Meta(description="Events in overflow since its start. Kafka may have some of them, too.")]
