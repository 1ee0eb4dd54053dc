"""Packs events that come one in a record, as other producers write them, into batches as the count job reads them.

A record that is a ViewEvent datum already (schemas/avro/ViewEvent.v1), with whatever stands before it, is checked and
copied by a kernel. Any other, JSON or Avro of another schema, is first turned into one. An event without an id gets one
of the record's place (topic, partition, offset), and if it has no time either, the record's: however often a record is
packed, it is the same event. One with an id of its own needs its time, as at ingest: its producer may write it again,
in a record of another time. What ingest refuses by the event alone is refused here.
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

from schemas import registry, values
from schemas.fields import EVENT_FIELDS, first_meant, misspelt
from schemas.topics import RECORD_BYTES_MAX
from schemas.values import ID_BYTES, TIME_END_MS, TIME_MIN_MS
from schemas.varint import varint
from udfs.logic.kernels.hashing import salt_of
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import leaf, njit
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS_1, Unreadable, read_event

CONFLUENT_HEADER_BYTES = 5
_CONFLUENT_MAGIC = b"\x00"
_PLACE = struct.Struct(">IQ")
_TRUNCATED = int(Unreadable.TRUNCATED)
_AFTER = int(Unreadable.BYTES_AFTER_END)
_SCHEMA = int(Unreadable.UNKNOWN_SCHEMA)
_TEXTS = ("viewer_id", "country", "device")
_ID_BYTES = ID_BYTES
_RESERVED_ID = 1001
_TIME_RANGE = 1002
_TIME_MIN_MS = TIME_MIN_MS
_TIME_END_MS = TIME_END_MS
_EVENT_REASONS = {_RESERVED_ID: f"event_id: {values.ID_RESERVED}", _TIME_RANGE: f"viewed_at: {values.TIME_RANGE}"}
# What a list of schemas calls the product's own.
OWN_SCHEMA = "ViewEvent.v1"
# Read field by field, since batches are written with events of version 1: what version 2 adds is left out.
NEWER_OWN_SCHEMA = "ViewEvent.v2"
# Of all events of a batch together, which leaves room for its head.
EVENT_BYTES_MAX = RECORD_BYTES_MAX - (1 << 14)


class Origin(NamedTuple):
    """Where records lie and when they were written: a column each, a row a record."""

    partitions: Sequence[int]
    offsets: Sequence[int]
    times_ms: Sequence[int]


class Packed(NamedTuple):
    """ViewBatch values as (salt, value, events in it), and what is no event: (row, reason)."""

    batches: list[tuple[int, bytes, int]]
    refused: list[tuple[int, str]]


class FieldError(ValueError):
    """A field that cannot be taken; the text names it."""


Normalise = Callable[[bytes, int, int, int], bytes]
"""From a record's value, partition, offset and time in ms to a ViewEvent datum. Raises FieldError."""


class Packer:
    """Of one topic. Not thread-safe."""

    def __init__(
        self,
        salts: int,
        batch_events_max: int,
        *,
        head: bytes = b"",
        skip: int = 0,
        normalise: Normalise | None = None,
        producer_id: str = "pack-events",
    ) -> None:
        self._salts = salts
        self._batch_events_max = batch_events_max
        # What a record begins with, and how many bytes stand before the datum.
        self._head = np.frombuffer(head, np.uint8)
        self._skip = skip
        self._normalise = normalise
        self._producer = _text(producer_id.encode())

    def pack(self, values: Sequence[bytes | None], origin: Origin, now_ms: int) -> Packed:
        """Pack the records that are events. Their order within a salt is theirs."""
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
            if len(datum) > EVENT_BYTES_MAX:
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
        salts = _salts(buf, ends - sizes, ends, head, skip, self._salts)
        refused += [(rows[bad], _reason(-int(salts[bad]))) for bad in np.nonzero(salts < 0)[0].tolist()]
        refused.sort()
        return Packed(self._batches(buf, ends - sizes + skip, ends, salts, now_ms), refused)

    def heartbeats(self, now_ms: int) -> Iterator[tuple[int, bytes]]:
        """(salt, value) of a batch without events for each salt: it moves the salt's clock on, and nothing else."""
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
        data, data_ends = _gather(buf, starts, ends, order)
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
        numbers = (salt, self._salts, now_ms, events)
        return registry.prefix("ViewBatch") + uuid.uuid4().bytes + self._producer + b"".join(map(varint, numbers))


class Unknown(StrEnum):
    """What becomes of a field that no event has."""

    IGNORED = "ignored"
    MISSPELT_REFUSED = "misspelt_refused"
    REFUSED = "refused"


class WriterSchema(NamedTuple):
    """A schema that records were written with, None for ViewEvent.v1, and its number in the Confluent framing."""

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
) -> Packer:
    """For records of a topic: "json", or Avro, "plain", "single_object" or "confluent", in one of the writers' schemas.

    A record that names none of them, by its fingerprint or number, is refused as unknown_schema. Raises ValueError when
    the schemas do not go with the framing, or have fields that are refused.
    """
    if framing == "json":
        return Packer(salts, batch_events_max, normalise=json_events(topic, unknown))
    heads: dict[bytes, WriterSchema] = {}
    for one in schemas:
        head = _head_of_schema(framing, one)
        if head in heads:
            raise ValueError(f"two schemas with the head {head.hex() or 'of none'}: name each once")
        heads[head] = one
    if not heads:
        raise ValueError("no schema is named")
    if len(heads) == 1:
        ((head, only),) = heads.items()
        if only.schema is None:
            return Packer(salts, batch_events_max, head=head, skip=len(head))
    return Packer(salts, batch_events_max, normalise=avro_events(topic, heads, unknown))


def _head_of_schema(framing: str, one: WriterSchema) -> bytes:
    if (one.number is None) == (framing == "confluent"):
        raise ValueError("number=schema file belongs to framing=confluent, and to no other")
    if framing == "plain":
        return b""
    if framing == "single_object":
        return registry.prefix("ViewEvent") if one.schema is None else registry.prefix_of(one.schema)
    assert one.number is not None
    return _CONFLUENT_MAGIC + one.number.to_bytes(CONFLUENT_HEADER_BYTES - 1, "big")


def json_events(topic: str, unknown: Unknown) -> Normalise:
    """An object with the fields that ingest takes; what becomes of others `unknown` says."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    own = topic_mark(topic)

    def normalise(value: bytes, partition: int, offset: int, time_ms: int) -> bytes:
        try:
            fields = decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FieldError(f"no JSON object: {error}") from error
        _check_names(fields, unknown)
        return datum_of(fields, id_of_place(own, partition, offset), time_ms)

    return normalise


def avro_events(topic: str, heads: Mapping[bytes, WriterSchema], unknown: Unknown) -> Normalise:
    """A record of the schema that its head names, in which fields are called as ViewEvent's; others are left out.

    The heads are of one length. Raises ValueError for a schema with fields that are refused.
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
        # Whatever a decoder meets in bytes that are not what they say they are.
        except Exception as error:
            raise FieldError(f"not in the writer's schema: {type(error).__name__}") from error
        if skip + datum.tell() != len(value):
            raise FieldError("bytes_after_end")
        if not isinstance(fields, dict):
            raise FieldError("no record")
        return datum_of(fields, id_of_place(own, partition, offset), time_ms)

    return normalise


def _parsed(one: WriterSchema, unknown: Unknown) -> Any:
    if one.schema is None:
        return registry.numeric_schema("ViewEvent")
    if one.schema == newer_own_schema():
        return registry.numeric_schema("ViewEvent", 2)
    _check_names([str(field["name"]) for field in one.schema.get("fields", [])], unknown)
    return fastavro.parse_schema(dict(one.schema))


def newer_own_schema() -> Mapping[str, Any]:
    """The schema that NEWER_OWN_SCHEMA names."""
    found: dict[str, Any] = json.loads((registry.FOLDER / f"{NEWER_OWN_SCHEMA}.avsc").read_text())
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
    """What begins the ids of events of a topic that bring none."""
    return hashlib.blake2b(topic.encode(), digest_size=_ID_BYTES - _PLACE.size).digest()


def id_of_place(mark: bytes, partition: int, offset: int) -> bytes:
    """The id of an event that brings none, of the topic with this mark."""
    return mark + _PLACE.pack(partition, offset)


def datum_of(fields: Mapping[str, Any], own_id: bytes, time_ms: int, *, same_event: bool = False) -> bytes:
    """A ViewEvent datum; without an id it is `own_id`, without either `time_ms`. Raises FieldError.

    `same_event`: these are the id and the time that the event has had, so that with an id it may be without its time.
    """
    given_id, given_time = fields.get("event_id"), fields.get("viewed_at")
    identity = _identity(given_id, own_id)
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
        if value is None:
            parts.append(b"\x00")
        elif isinstance(value, str):
            parts.append(b"\x02" + _utf8(name, value))
        else:
            raise FieldError(f"{name}={value!r:.80}: must be text or null")
    return b"".join(parts)


def _identity(given: object, own_id: bytes) -> bytes:
    if given is None:
        return own_id
    try:
        if isinstance(given, str):
            return values.event_id(given).bytes
        found = given.bytes if isinstance(given, uuid.UUID) else given
        if isinstance(found, bytes) and len(found) == _ID_BYTES:
            values.check_id(found)
            return found
    except values.ValueFormError as error:
        raise FieldError(f"event_id={given!r:.80}: {error}") from error
    raise FieldError(f"event_id={given!r:.80}: {values.ID_FORM}, or 16 bytes")


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
    # Whether it is in the years that events may have, the kernel sees.
    if at_ms is None or not -(1 << 63) <= at_ms < 1 << 63:
        raise FieldError(f"viewed_at={given!r:.80}: {values.TIME_FORM}")
    return at_ms


def _reason(code: int) -> str:
    return _EVENT_REASONS.get(code) or Unreadable(code).name.lower()


def _text(value: bytes) -> bytes:
    return varint(len(value)) + value


def _utf8(name: str, value: str) -> bytes:
    try:
        return _text(value.encode())
    except UnicodeEncodeError as error:
        raise FieldError(f"{name}: half a surrogate pair, which is no text") from error


@leaf()
def _is_reserved_id(buf, at):  # type: ignore[no-untyped-def]
    """Whether the id there is all zeros or all ones."""
    first = buf[at]
    if first not in (0, 255):
        return False
    for i in range(1, 16):  # noqa: SIM110 - Numba compiles no generator
        if buf[at + i] != first:
            return False
    return True


@njit(cache=True)
def _salts(buf, starts, ends, head, skip, salts):  # type: ignore[no-untyped-def]
    """The salt of each record's event, minus the reason when it is none."""
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
        event = read_event(record, skip, OPTIONAL_TEXTS_1)
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
def _gather(buf, starts, ends, order):  # type: ignore[no-untyped-def]
    """The stretches in this order, one after the other, and where each begins; the end comes last."""
    out_ends = np.zeros(order.shape[0] + 1, np.int64)
    for n in range(order.shape[0]):
        out_ends[n + 1] = out_ends[n] + ends[order[n]] - starts[order[n]]
    out = np.empty(out_ends[-1], np.uint8)
    for n in range(order.shape[0]):
        start = starts[order[n]]
        at = out_ends[n]
        for j in range(ends[order[n]] - start):
            out[at + j] = buf[start + j]
    return out, out_ends
