"""Encodes and decodes an object of overflow: an Avro container of a ViewBatch of version 2.

An object belongs to no salt, since whoever drains it computes salts by the declaration that is in force then. So its
batch names salt 0 of 1. The batch's `produced_at` is when the object was made, before its events were acknowledged.
"""

import io
import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt

from schemas import registry
from schemas.values import ID_BYTES
from schemas.varint import varint
from schemas.view_records import NULL, VERSION, Origin, batch_head
from settings.durations import MINUTE_MS
from udfs.logic.overflow.object_name import Destination, ObjectName
from udfs.logic.wire.batch_scan import (
    END,
    KIND_AT,
    KIND_LEN,
    OPTIONAL_TEXTS,
    START,
    VIEWER_AT,
    VIEWER_LEN,
    Unreadable,
    scan_as_named,
)

_LONG = fastavro.parse_schema("long")
_END_OF_EVENTS = b"\x00"
# Every object has the same, so that its header is made once. Nothing searches for it.
_MARKER = b"view-counts-sync"


class ObjectError(ValueError):
    """An object cannot be read."""


class ObjectEvents(NamedTuple):
    """The events of an object, as ViewEvents of version 2, and when each was viewed.

    The viewer_id of event i, with its branch and length, is datums[i][viewers[i, 0] : viewers[i, 1]]. That is empty if
    the event has none.
    """

    datums: list[bytes]
    viewed_ms: npt.NDArray[np.int64]
    viewers: npt.NDArray[np.int64]

    def without_viewer(self, index: int) -> bytes:
        """Return an event without its viewer_id."""
        start, end = self.viewers[index].tolist()
        datum = self.datums[index]
        return datum if start == end else datum[:start] + NULL + datum[end:]


def encode(
    blocks: Sequence[bytes],
    count: int,
    *,
    made_ms: int,
    producer_id: str,
    sequence: int,
    destination: Destination,
) -> tuple[ObjectName, bytes]:
    """Return the name and the content of the object with these events: `blocks` have `count` of them, in version 2."""
    head = batch_head(os.urandom(ID_BYTES), producer_id, salt=0, salts=1, produced_ms=made_ms, origin=Origin.OVERFLOW)
    value = b"".join((head, varint(count), *blocks, _END_OF_EVENTS))
    scanned = scan_as_named(np.frombuffer(value, np.uint8))
    if isinstance(scanned, Unreadable):
        raise ObjectError(f"the events cannot be read again: {scanned.name.lower()}")
    viewed_ms = scanned[1].viewed_at
    if len(viewed_ms) != count:
        raise ObjectError(f"{len(viewed_ms)} events can be read again, and there are {count}")
    minutes = viewed_ms // MINUTE_MS
    name = ObjectName(made_ms, producer_id, sequence, destination, int(minutes.min()), int(minutes.max()), count)
    datum = memoryview(value)[registry.PREFIX_BYTES :]
    return name, b"".join((_header(), varint(1), varint(len(datum)), datum, _MARKER))


def decode(content: bytes, count: int) -> ObjectEvents:
    """Return the events of an object. Raises ObjectError if it is broken anywhere, or there are not `count` of them."""
    datums: list[bytes] = []
    viewed: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    viewers: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    try:
        blocks = list(_blocks(content))
    # A decoder may raise anything for bytes that are no container.
    except Exception as error:
        raise ObjectError(f"no Avro container: {type(error).__name__}: {error}") from error
    for records, datum in blocks:
        if records != 1:
            raise ObjectError(f"a block has {records} records; it must have one")
        value = registry.prefix("ViewBatch", VERSION) + datum
        scanned = scan_as_named(np.frombuffer(value, np.uint8))
        if isinstance(scanned, Unreadable):
            raise ObjectError(f"its batch cannot be read: {scanned.name.lower()}")
        spans = scanned[1].spans
        datums += [value[start:end] for start, end in spans[:, [START, END]].tolist()]
        viewed.append(scanned[1].viewed_at)
        viewers.append(_viewers(spans))
    if len(datums) != count:
        raise ObjectError(f"it has {len(datums)} events, and its name says {count}")
    return ObjectEvents(datums, np.concatenate(viewed), np.concatenate(viewers))


def _blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number of records, their bytes) of each block of a container that is not packed."""
    blocks = fastavro.block_reader(io.BytesIO(content))
    if blocks.codec != "null":
        raise ObjectError(f"its codec is {blocks.codec}; it must be null")
    for block in blocks:
        # A block is its number of records, its size, the records, and the marker.
        stream = io.BytesIO(content[block.offset : block.offset + block.size])
        records, size = (int(fastavro.schemaless_reader(stream, _LONG, None)) for _ in range(2))  # type: ignore[arg-type]
        yield records, stream.read(size)


def _viewers(spans: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where the viewer_id of each event begins and ends within the event."""
    starts = spans[:, KIND_AT] + spans[:, KIND_LEN]
    # A viewer_id that is null lies nowhere.
    ends = np.where(spans[:, VIEWER_AT] > 0, spans[:, VIEWER_AT] + spans[:, VIEWER_LEN], starts)
    return np.stack((starts, ends), axis=1) - spans[:, [START]]


@cache
def _header() -> bytes:
    """Return what an object begins with."""
    empty = io.BytesIO()
    fastavro.writer(empty, registry.schema("ViewBatch", VERSION), [], sync_marker=_MARKER)
    return empty.getvalue()


def warm_up() -> None:
    """Encode an object, so that the kernel that it needs is compiled or loaded."""
    event = bytes(ID_BYTES) + b"\x02A\x00\x08view" + NULL * OPTIONAL_TEXTS[VERSION]
    encode([event], 1, made_ms=0, producer_id="", sequence=0, destination=Destination.EVENTS)


if __name__ == "__main__":
    warm_up()
