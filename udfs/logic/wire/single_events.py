"""Packs events that other producers write one in a record into the batches that the count job reads.

A kernel checks and copies a record that holds a ViewEvent datum (schemas/avro/ViewEvent.v1) after some header, and
appends what version 2 adds. Other records, in JSON or in Avro of another schema, are first converted to such a datum.

An event without an id gets one that is made from the record's place (topic, partition, offset). If it has no time
either, it gets the record's time. So however often a record is packed, it is the same event. An event with an id needs
its time too, as at ingest, because its producer may write it again in a record of another time. An event that ingest
would refuse is refused here as well.
"""

import hashlib
import io
import json
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import fastavro
import msgspec
import numpy as np
import numpy.typing as npt

from schemas import event_ids, registry, values
from schemas.fields import EVENT_FIELDS, first_meant, misspelt
from schemas.topics import RECORD_BYTES_MAX
from schemas.values import ID_BYTES, TIME_END_MS, TIME_MIN_MS
from schemas.varint import varint
from schemas.view_records import NULL, SOME, batch_head, event_tail, text
from schemas.view_records import Origin as BatchOrigin
from schemas.viewers import is_no_viewer
from udfs.logic.kernels.hashing import salt_of
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import leaf, njit
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS, OPTIONAL_TEXTS_1, Unreadable, read_event

CONFLUENT_HEADER_BYTES = 5
_CONFLUENT_MAGIC = b"\x00"
_PLACE = struct.Struct(">IQ")
_TRUNCATED = int(Unreadable.TRUNCATED)
_AFTER = int(Unreadable.BYTES_AFTER_END)
_SCHEMA = int(Unreadable.UNKNOWN_SCHEMA)
_VIEWER = "viewer_id"
_TEXTS = (_VIEWER, "country", "device")
_ID_BYTES = ID_BYTES
_RESERVED_ID = 1001
_TIME_RANGE = 1002
_TIME_MIN_MS = TIME_MIN_MS
_TIME_END_MS = TIME_END_MS
_EVENT_REASONS = {_RESERVED_ID: f"event_id: {values.ID_RESERVED}", _TIME_RANGE: f"viewed_at: {values.TIME_RANGE}"}
# The versions of the product's own schema, by their names in a list of schemas. An event of a later one is read field
# by field, and the fields that later ones add are left out, since they are not the producer's to say.
OWN_SCHEMAS = {f"ViewEvent.v{version}": version for version in OPTIONAL_TEXTS}
NO_TAIL = event_tail()
# The project of events that come without a key, unless a setting says another.
DEFAULT_PROJECT = "default"
# For all events of a batch together. It leaves room for the batch's head.
EVENT_BYTES_MAX = RECORD_BYTES_MAX - (1 << 14)


class Origin(NamedTuple):
    """Where records lie and when they were written. Each field is a column with an entry for each record."""

    partitions: Sequence[int]
    offsets: Sequence[int]
    times_ms: Sequence[int]


class Packed(NamedTuple):
    """ViewBatch values as (salt, value, number of events), and the records that were refused: (row, reason)."""

    batches: list[tuple[int, bytes, int]]
    refused: list[tuple[int, str]]


class FieldError(ValueError):
    """A field is not allowed or has a wrong value. The text names it."""


Normalise = Callable[[bytes, int, int, int], bytes]
"""Makes a ViewEvent datum from a record's value, partition, offset and time in ms. Raises FieldError."""


class Packer:
    """Packs the records of one topic. Not thread-safe.

    Records hold events of version 1, and `tail` is what is appended to each. With `has_tails` they hold events of
    version 2, which are copied as they are.
    """

    def __init__(
        self,
        salts: int,
        batch_events_max: int,
        *,
        head: bytes = b"",
        skip: int = 0,
        normalise: Normalise | None = None,
        tail: bytes = NO_TAIL,
        has_tails: bool = False,
        producer_id: str = "pack-events",
        made_by: BatchOrigin = BatchOrigin.PACK,
    ) -> None:
        self._salts = salts
        self._batch_events_max = batch_events_max
        # The bytes that a record begins with, and the number of bytes before the datum.
        self._head = np.frombuffer(head, np.uint8)
        self._skip = skip
        self._normalise = normalise
        self._tail = np.frombuffer(b"" if has_tails else tail, np.uint8)
        self._optional_texts = OPTIONAL_TEXTS[2] if has_tails else OPTIONAL_TEXTS_1
        self._producer_id = producer_id
        self._made_by = made_by

    def pack(self, values: Sequence[bytes | None], origin: Origin, now_ms: int) -> Packed:
        """Pack the records that are events. Within a salt, events keep the order of their records."""
        refused: list[tuple[int, str]] = []
        rows: list[int] = []
        datums: list[bytes] = []
        normalise = self._normalise
        for row, value in enumerate(values):
            if value is None:
                refused.append((row, "no_value"))
                continue
            datum = value
            if normalise is not None:
                place = origin.partitions[row], origin.offsets[row], origin.times_ms[row]
                try:
                    datum = normalise(value, *place)
                except FieldError as error:
                    refused.append((row, str(error)))
                    continue
                except RecursionError:
                    refused.append((row, "nested_too_deep"))
                    continue
            if len(datum) + len(self._tail) > EVENT_BYTES_MAX:
                refused.append((row, "too_long"))
                continue
            rows.append(row)
            datums.append(datum)
        if not datums:
            return Packed([], refused)
        sizes = np.fromiter(map(len, datums), np.int64, len(datums))
        ends = np.cumsum(sizes)
        buf = np.frombuffer(b"".join(datums), np.uint8)
        head, skip = (self._head, self._skip) if normalise is None else (np.empty(0, np.uint8), 0)
        salts = _salts(buf, ends - sizes, ends, head, skip, self._salts, self._optional_texts)
        refused += [(rows[bad], _reason(-int(salts[bad]))) for bad in np.nonzero(salts < 0)[0].tolist()]
        refused.sort()
        return Packed(self._batches(buf, ends - sizes + skip, ends, salts, now_ms), refused)

    def heartbeats(self, now_ms: int) -> Iterator[tuple[int, bytes]]:
        """Yield (salt, value) of a heartbeat for each salt."""
        for salt in range(self._salts):
            yield salt, self._head_of(salt, 0, now_ms)

    def _batches(
        self,
        buf: Bytes,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        salts: npt.NDArray[np.int64],
        now_ms: int,
    ) -> list[tuple[int, bytes, int]]:
        good = np.nonzero(salts >= 0)[0]
        order = good[np.argsort(salts[good], kind="stable")]
        data, data_ends = _gather(buf, starts, ends, order, self._tail)
        numbers = np.bincount(salts[good], minlength=self._salts).tolist()
        found = []
        at = 0
        for salt, number in enumerate(numbers):
            until = at + number
            while at < until:
                room = int(np.searchsorted(data_ends, data_ends[at] + EVENT_BYTES_MAX, side="right")) - 1
                upto = min(at + self._batch_events_max, until, room)
                events = data[data_ends[at] : data_ends[upto]].tobytes()
                found.append((salt, self._head_of(salt, upto - at, now_ms) + events + b"\x00", upto - at))
                at = upto
        return found

    def _head_of(self, salt: int, events: int, now_ms: int) -> bytes:
        head = batch_head(
            uuid.uuid4().bytes,
            self._producer_id,
            salt=salt,
            salts=self._salts,
            produced_ms=now_ms,
            origin=self._made_by,
        )
        return head + varint(events)


class Unknown(StrEnum):
    """What to do with a field that no event has."""

    IGNORED = "ignored"
    MISSPELT_REFUSED = "misspelt_refused"
    REFUSED = "refused"


class WriterSchema(NamedTuple):
    """A schema that records were written with (None for ViewEvent.v1), and its number in the Confluent framing."""

    schema: Mapping[str, Any] | None
    number: int | None = None


OWN = WriterSchema(None)


def packer_of(
    framing: str,
    topic: str,
    salts: int,
    batch_events_max: int,
    schemas: Sequence[WriterSchema] = (OWN,),
    unknown: Unknown = Unknown.MISSPELT_REFUSED,
    *,
    project: str = DEFAULT_PROJECT,
) -> Packer:
    """Return the packer for a topic whose records are "json", or Avro as "plain", "single_object" or "confluent".

    Every event is of the project, and ids that are text are made within it.

    An Avro record names one of the schemas by its fingerprint or number, or it is refused as unknown_schema. Raises
    ValueError when the schemas do not fit the framing, or have fields that are refused.
    """
    tail = event_tail(project=project)
    if framing == "json":
        return Packer(salts, batch_events_max, normalise=json_events(topic, unknown, project), tail=tail)
    heads: dict[bytes, WriterSchema] = {}
    for one in schemas:
        head = _head_of_schema(framing, one)
        if head in heads:
            raise ValueError(f"two schemas have the same head ({head.hex() or 'an empty one'}): name each schema once")
        heads[head] = one
    if not heads:
        raise ValueError("no schema is named")
    if len(heads) == 1:
        ((head, only),) = heads.items()
        if only.schema is None:
            return Packer(salts, batch_events_max, head=head, skip=len(head), tail=tail)
    return Packer(salts, batch_events_max, normalise=avro_events(topic, heads, unknown, project), tail=tail)


def _head_of_schema(framing: str, one: WriterSchema) -> bytes:
    if (one.number is None) == (framing == "confluent"):
        raise ValueError("number=schema file is for framing=confluent, and for no other framing")
    if framing == "plain":
        return b""
    if framing == "single_object":
        return registry.prefix("ViewEvent") if one.schema is None else registry.prefix_of(one.schema)
    assert one.number is not None
    return _CONFLUENT_MAGIC + one.number.to_bytes(CONFLUENT_HEADER_BYTES - 1, "big")


def json_events(topic: str, unknown: Unknown, project: str) -> Normalise:
    """Return a function that converts JSON objects with the fields of ingest. `unknown` says what to do with others."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    own = topic_mark(topic)

    def normalise(value: bytes, partition: int, offset: int, time_ms: int) -> bytes:
        try:
            fields = decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FieldError(f"no JSON object: {error}") from error
        _check_names(fields, unknown)
        return datum_of(fields, id_of_place(own, partition, offset), time_ms, project)

    return normalise


def avro_events(topic: str, heads: Mapping[bytes, WriterSchema], unknown: Unknown, project: str) -> Normalise:
    """Return a function that converts records of the schema that their head names.

    It takes the fields that have the names of ViewEvent's fields. The heads have the same length. Raises ValueError for
    a schema with fields that are refused.
    """
    schemas = {head: _parsed(one, unknown) for head, one in heads.items()}
    skip = len(next(iter(heads)))
    own = topic_mark(topic)

    def normalise(value: bytes, partition: int, offset: int, time_ms: int) -> bytes:
        schema = schemas.get(value[:skip])
        if schema is None:
            raise FieldError("unknown_schema")
        datum = io.BytesIO(value[skip:])
        try:
            fields = fastavro.schemaless_reader(datum, schema, None)
        # A decoder may raise anything for bytes that are not of its schema.
        except Exception as error:
            raise FieldError(f"not in the writer's schema: {type(error).__name__}") from error
        if skip + datum.tell() != len(value):
            raise FieldError("bytes_after_end")
        if not isinstance(fields, dict):
            raise FieldError("no record")
        return datum_of(fields, id_of_place(own, partition, offset), time_ms, project)

    return normalise


def _parsed(one: WriterSchema, unknown: Unknown) -> Any:
    if one.schema is None:
        return registry.numeric_schema("ViewEvent")
    for name, version in OWN_SCHEMAS.items():
        if one.schema == own_schema(name):
            return registry.numeric_schema("ViewEvent", version)
    _check_names([str(field["name"]) for field in one.schema.get("fields", [])], unknown)
    return fastavro.parse_schema(dict(one.schema))


def own_schema(name: str) -> Mapping[str, Any] | None:
    """Return the schema that a name of OWN_SCHEMAS means, as a WriterSchema holds it: None for version 1."""
    if OWN_SCHEMAS[name] == 1:
        return None
    found: dict[str, Any] = json.loads((registry.FOLDER / f"{name}.avsc").read_text())
    return found


def _check_names(names: Iterable[str], unknown: Unknown) -> None:
    """Raises FieldError for a field that is refused."""
    if unknown is Unknown.IGNORED:
        return
    if (found := first_meant(names)) is not None:
        raise FieldError(f"{found[0]:.80}: {misspelt(*found)}")
    if unknown is Unknown.REFUSED and (other := next((name for name in names if name not in EVENT_FIELDS), None)):
        raise FieldError(f"{other:.80}: no event has this field")


def topic_mark(topic: str) -> bytes:
    """Return the bytes with which the ids begin that events of a topic get when they have none."""
    return hashlib.blake2b(topic.encode(), digest_size=_ID_BYTES - _PLACE.size).digest()


def id_of_place(mark: bytes, partition: int, offset: int) -> bytes:
    """Return the id for an event without one, from its record's place in the topic with this mark."""
    return mark + _PLACE.pack(partition, offset)


def datum_of(
    fields: Mapping[str, Any], own_id: bytes, time_ms: int, project: str, *, same_event: bool = False
) -> bytes:
    """Return a ViewEvent datum of version 1. Raises FieldError.

    An id that is text is made within the project. An event without an id gets `own_id`, and if it has no time either,
    `time_ms`. With `same_event`, `own_id` and `time_ms` are those that this event has had before, so that an event with
    an id may lack its time.
    """
    given_id, given_time = fields.get("event_id"), fields.get("viewed_at")
    identity = _identity(given_id, own_id, project)
    if given_time is None and given_id is not None and not same_event:
        given_time = values.time_of_id(uuid.UUID(bytes=identity))
        if given_time is None:
            raise FieldError(f"viewed_at: {values.TIME_MISSING}")
    video_id = fields.get("video_id")
    if not isinstance(video_id, str):
        raise FieldError(f"video_id={video_id!r:.80}: must be text")
    kind = fields.get("kind")
    if kind is None:
        kind = "view"
    elif not isinstance(kind, str):
        raise FieldError(f"kind={kind!r:.80}: must be text")
    parts = [
        identity,
        _utf8("video_id", video_id),
        varint(_time_ms(given_time, time_ms)),
        _utf8("kind", kind),
    ]
    for name in _TEXTS:
        value = fields.get(name)
        if value is None or (name == _VIEWER and isinstance(value, str) and is_no_viewer(value)):
            parts.append(NULL)
        elif isinstance(value, str):
            parts.append(SOME + _utf8(name, value))
        else:
            raise FieldError(f"{name}={value!r:.80}: must be text or null")
    return b"".join(parts)


def _identity(given: object, own_id: bytes, project: str) -> bytes:
    if given is None:
        return own_id
    try:
        if isinstance(given, str):
            return event_ids.event_id(given, project).bytes
        found = given.bytes if isinstance(given, uuid.UUID) else given
        if isinstance(found, bytes) and len(found) == _ID_BYTES:
            values.check_id(found)
            return found
    except values.ValueFormError as error:
        raise FieldError(f"event_id={given!r:.80}: {error}") from error
    raise FieldError(f"event_id={given!r:.80}: {event_ids.ID_FORM}, or 16 bytes")


def _time_ms(given: object, time_ms: int) -> int:
    if given is None:
        return time_ms
    at_ms = None
    if isinstance(given, int) and not isinstance(given, bool):
        at_ms = given
    elif isinstance(given, datetime) and given.tzinfo is not None:
        at_ms = values.ms_of(given)
    elif isinstance(given, str):
        try:
            at_ms = values.time_ms(given)
        except values.ValueFormError as error:
            raise FieldError(f"viewed_at={given!r:.80}: {error}") from error
    # The kernel checks that the time is in the years that are allowed.
    if at_ms is None or not -(1 << 63) <= at_ms < 1 << 63:
        raise FieldError(f"viewed_at={given!r:.80}: {values.TIME_FORM}")
    return at_ms


def _reason(code: int) -> str:
    return _EVENT_REASONS.get(code) or Unreadable(code).name.lower()


def _utf8(name: str, value: str) -> bytes:
    try:
        return text(value)
    except UnicodeEncodeError as error:
        raise FieldError(f"{name}: half a surrogate pair, which is no text") from error


@leaf()
def _is_reserved_id(buf, at):  # type: ignore[no-untyped-def]
    """Return whether the id at buf[at] is all zeros or all ones."""
    first = buf[at]
    if first not in (0, 255):
        return False
    for i in range(1, 16):  # noqa: SIM110 - Numba compiles no generator
        if buf[at + i] != first:
            return False
    return True


@njit(cache=True)
def _salts(buf, starts, ends, head, skip, salts, optional_texts):  # type: ignore[no-untyped-def]
    """Return the salt of each record's event, or minus the reason when the record is no event."""
    found = np.empty(starts.shape[0], np.int64)
    for i in range(starts.shape[0]):
        record = buf[starts[i] : ends[i]]
        if record.shape[0] < skip:
            found[i] = -_TRUNCATED
            continue
        same = True
        for j in range(head.shape[0]):
            same = same and record[j] == head[j]
        if not same:
            found[i] = -_SCHEMA
            continue
        event = read_event(record, skip, optional_texts)
        viewed_at, end = event[2], event[8]
        if end < 0:
            found[i] = end
        elif end != record.shape[0]:
            found[i] = -_AFTER
        elif _is_reserved_id(record, skip):
            found[i] = -_RESERVED_ID
        elif viewed_at < _TIME_MIN_MS or viewed_at >= _TIME_END_MS:
            found[i] = -_TIME_RANGE
        else:
            found[i] = salt_of(record, skip, salts)
    return found


@njit(cache=True)
def _gather(buf, starts, ends, order, tail):  # type: ignore[no-untyped-def]
    """Return (the stretches one after another in this order, the end of each with a 0 before the first).

    The tail follows each stretch, and belongs to it.
    """
    out_ends = np.zeros(order.shape[0] + 1, np.int64)
    for n in range(order.shape[0]):
        out_ends[n + 1] = out_ends[n] + ends[order[n]] - starts[order[n]] + tail.shape[0]
    out = np.empty(out_ends[-1], np.uint8)
    for n in range(order.shape[0]):
        start = starts[order[n]]
        at = out_ends[n]
        for j in range(ends[order[n]] - start):
            out[at + j] = buf[start + j]
        at = out_ends[n + 1] - tail.shape[0]
        for j in range(tail.shape[0]):
            out[at + j] = tail[j]
    return out, out_ends
