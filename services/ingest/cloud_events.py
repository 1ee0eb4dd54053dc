"""Reads view events from CloudEvents 1.0 in JSON: a single one, or a batch. Knows no HTTP and no Kafka.

Of the attributes `id` and `source` make the event's id, `time` is its time, and `subject` is its video if `data` names
none. `data` has the other fields of a view event. `type` and extension attributes are not used. See the CloudEvents
specification, "JSON Event Format" and "JSON Batch Format".
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas import values
from schemas.event_ids import id_of_text
from schemas.limits import EVENT_ID_BYTES_MAX
from services.ingest.events import BodyError, Parsed, Terms, ViewEvent, check_size_of_values, event_of, one_by_one
from services.ingest.rejections import FieldError

SPEC_VERSION = "1.0"
_OF_ENVELOPE = {"event_id": "id and source", "viewed_at": "time"}


class CloudEvent(msgspec.Struct):
    """A CloudEvent that tells of one view. Other attributes may be there."""

    specversion: Annotated[str, Meta(description=f"{SPEC_VERSION}")]
    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=EVENT_ID_BYTES_MAX,
            description="With the source and the sender's project it makes the event's id.",
        ),
    ]
    source: Annotated[str, Meta(min_length=1)]
    type: Annotated[str, Meta(min_length=1, description="Not used: the kind of the view is in the data.")]
    time: Annotated[str | None, Meta(description="When it was viewed: RFC 3339 with an offset. Required here.")] = None
    subject: Annotated[str | None, Meta(description="The video, if the data has no video_id.")] = None
    data: Annotated[
        dict[str, Any] | None,
        Meta(description="An object with the fields of a view event: video_id, kind, viewer_id, country, device."),
    ] = None


class _Envelope(CloudEvent):
    data: Any = None
    data_base64: Any | UnsetType = UNSET


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_BATCH = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder(dict[str, Any])


def parse_cloud_event(body: bytes, terms: Terms) -> Parsed:
    """Read a single CloudEvent. Its index is 0."""
    return one_by_one([body], terms, _event, _fields)


def parse_cloud_events(body: bytes, terms: Terms) -> Parsed:
    """Read a list of CloudEvents. Raises BodyError for any other shape."""
    check_size_of_values(body, b",")
    try:
        raws = _BATCH.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(f"the body is no list of CloudEvents in JSON: {error}") from error
    return one_by_one(raws, terms, _event, _fields)


def _event(raw: bytes | msgspec.Raw, unknown: dict[str, None], terms: Terms) -> ViewEvent:
    envelope = _ENVELOPE.decode(raw)
    if envelope.specversion != SPEC_VERSION:
        raise FieldError("specversion", envelope.specversion, f"is not {SPEC_VERSION}")
    if envelope.data_base64 is not UNSET:
        raise FieldError("data_base64", None, "bytes are no fields of a view event", "send data as an object in JSON")
    identity, viewed_ms = _identity(envelope, terms), _time(envelope)
    event = event_of(_data(envelope), unknown, terms)
    event.event_id, event.viewed_at = identity, viewed_ms
    return event


def _identity(envelope: _Envelope, terms: Terms) -> Any:
    try:
        return id_of_text(envelope.id, terms.project, envelope.source)
    except values.ValueFormError as error:
        raise FieldError("id", envelope.id, str(error)) from error


def _time(envelope: _Envelope) -> int:
    if envelope.time is None:
        raise FieldError("time", None, "missing: a repeat of a CloudEvent is found by its id and time")
    try:
        return values.time_ms(envelope.time)
    except values.ValueFormError as error:
        raise FieldError("time", envelope.time, str(error)) from error


def _data(envelope: _Envelope) -> dict[str, Any]:
    fields = {} if envelope.data is None else envelope.data
    if not isinstance(fields, dict):
        raise FieldError("data", fields, "must be an object with the fields of a view event")
    for name, attribute in _OF_ENVELOPE.items():
        if name in fields:
            raise FieldError(name, fields[name], f"said by the CloudEvent's {attribute}", "leave it out of data")
    if "video_id" not in fields and envelope.subject is not None:
        fields["video_id"] = envelope.subject
    return fields


def _fields(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """The attributes and the fields in data, to show what a bad one holds."""
    attributes = _ANY.decode(raw)
    data = attributes.get("data")
    return {**attributes, **data} if isinstance(data, dict) else attributes
