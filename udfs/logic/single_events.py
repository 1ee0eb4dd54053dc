"""Packs events that come one in a record, as other producers write them, into batches as the count job reads them.

A record that is a ViewEvent datum already (schemas/avro/ViewEvent.v1), with whatever stands before it, is checked and
copied by a kernel. Any other, JSON or Avro of another schema, is first turned into one. An event without an id gets one
of the record's place (topic, partition, offset), and one without a time the record's time: however often a record is
packed, it is the same event.
"""

import hashlib
import io
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import fastavro
import msgspec
import numpy as np
import numpy.typing as npt

from schemas import registry
from schemas.topics import RECORD_BYTES_MAX
from schemas.varint import varint
from udfs.logic.batch_scan import Unreadable, read_event
from udfs.logic.hashing import salt_of
from udfs.logic.key_table import Bytes
from udfs.logic.numba_compat import njit

CONFLUENT_HEADER_BYTES = 5
_CONFLUENT_MAGIC = b"\x00"
_PLACE = struct.Struct(">IQ")
_TRUNCATED = int(Unreadable.TRUNCATED)
_AFTER = int(Unreadable.BYTES_AFTER_END)
_SCHEMA = int(Unreadable.UNKNOWN_SCHEMA)
_TEXTS = ("viewer_id", "country", "device")
_ID_BYTES = 16
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
        refused += [(rows[bad], Unreadable(-int(salts[bad])).name.lower()) for bad in np.nonzero(salts < 0)[0].tolist()]
        refused.sort()
        return Packed(self._batches(buf, ends - sizes + skip, ends, salts, now_ms), refused)

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


def packer_of(
    framing: str, topic: str, salts: int, batch_events_max: int, writer_schema: Mapping[str, Any] | None = None
) -> Packer:
    """For records of a topic: "json", or Avro, "plain", "single_object" or "confluent", in the writer's schema.

    Without a schema the records are ViewEvent.v1. Of the Confluent framing the number of the schema is not looked at.
    """
    if framing == "json":
        return Packer(salts, batch_events_max, normalise=json_events(topic))
    head, skip = {
        "plain": (b"", 0),
        "single_object": (registry.prefix("ViewEvent"), registry.PREFIX_BYTES),
        "confluent": (_CONFLUENT_MAGIC, CONFLUENT_HEADER_BYTES),
    }[framing]
    if writer_schema is None:
        return Packer(salts, batch_events_max, head=head, skip=skip, normalise=None)
    if framing == "single_object":
        head = registry.MARKER
    normalise = avro_events(topic, writer_schema, head=head, skip=skip)
    return Packer(salts, batch_events_max, normalise=normalise)


def json_events(topic: str) -> Normalise:
    """An object with the fields that ingest takes; others are left out."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    own = topic_mark(topic)

    def normalise(value: bytes, partition: int, offset: int, time_ms: int) -> bytes:
        try:
            fields = decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FieldError(f"no JSON object: {error}") from error
        return datum_of(fields, id_of_place(own, partition, offset), time_ms)

    return normalise


def avro_events(topic: str, writer_schema: Mapping[str, Any], *, head: bytes, skip: int) -> Normalise:
    """A record of the writer's schema, in which fields are called as ViewEvent's; others are left out."""
    schema = fastavro.parse_schema(dict(writer_schema))
    own = topic_mark(topic)

    def normalise(value: bytes, partition: int, offset: int, time_ms: int) -> bytes:
        if value[: len(head)] != head:
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


def topic_mark(topic: str) -> bytes:
    """What begins the ids of events of a topic that bring none."""
    return hashlib.blake2b(topic.encode(), digest_size=_ID_BYTES - _PLACE.size).digest()


def id_of_place(mark: bytes, partition: int, offset: int) -> bytes:
    """The id of an event that brings none, of the topic with this mark."""
    return mark + _PLACE.pack(partition, offset)


def datum_of(fields: Mapping[str, Any], own_id: bytes, time_ms: int) -> bytes:
    """A ViewEvent datum; without an id it is `own_id`, without a time `time_ms`. Raises FieldError."""
    identity = _identity(fields.get("event_id"), own_id)
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
        varint(_time_ms(fields.get("viewed_at"), time_ms)),
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
    if isinstance(given, bytes) and len(given) == _ID_BYTES:
        return given
    if isinstance(given, uuid.UUID):
        return given.bytes
    if isinstance(given, str):
        try:
            return uuid.UUID(given).bytes
        except ValueError:
            pass
    raise FieldError(f"event_id={given!r:.80}: must be a UUID, as text or 16 bytes")


def _time_ms(given: object, time_ms: int) -> int:
    if given is None:
        return time_ms
    if isinstance(given, int) and not isinstance(given, bool) and -(1 << 63) <= given < 1 << 63:
        return given
    at = given
    if isinstance(given, str):
        try:
            at = datetime.fromisoformat(given)
        except ValueError:
            at = None
    if isinstance(at, datetime) and at.tzinfo is not None:
        return round(at.timestamp() * 1000)
    raise FieldError(f"viewed_at={given!r:.80}: must be ms since 1970, or RFC 3339 with an offset")


def _text(value: bytes) -> bytes:
    return varint(len(value)) + value


def _utf8(name: str, value: str) -> bytes:
    try:
        return _text(value.encode())
    except UnicodeEncodeError as error:
        raise FieldError(f"{name}: half a surrogate pair, which is no text") from error


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
        end = read_event(record, skip)[8]
        if end < 0:
            found[i] = end
        elif end != record.shape[0]:
            found[i] = -_AFTER
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
