"""Encodes events in the form that Flink SQL reads fastest: plain Avro without a schema prefix and unneeded fields.

Flink's avro format derives its schema from the table's columns and has no `fixed`, so the id is `bytes`. The count job
reads the same events as ViewBatch records with all their fields. Contenders that also count viewers and countries read
VIEWER_EVENT.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.inputs.kernels import encode_plain, without_devices
from schemas.varint import varint
from tools.load.encoding import header, records
from tools.load.traffic import Block
from tools.load.vocabulary import KINDS, Names

PLAIN_EVENT: dict[str, Any] = {
    "type": "record",
    "name": "PlainEvent",
    "fields": [
        {"name": "event_id", "type": "bytes"},
        {"name": "video_id", "type": "string"},
        {"name": "viewed_at", "type": "long"},
        {"name": "kind", "type": "string"},
    ],
}
VIEWER_EVENT: dict[str, Any] = {
    "type": "record",
    "name": "ViewerEvent",
    "fields": [
        *PLAIN_EVENT["fields"],
        {"name": "viewer_id", "type": ["null", "string"]},
        {"name": "country", "type": ["null", "string"]},
    ],
}
_KINDS = Names(KINDS)
# The bytes of an event without its video: the id with its length, the time, the lengths of two names, the longest kind.
_FIXED_BYTES = 17 + 6 + 2 + 2 + max(map(len, KINDS))


def _encoded(block: Block, order: npt.NDArray[np.int64], videos: Names) -> tuple[bytes, list[int]]:
    """(the events in this order, where each of them begins and at last where they end)."""
    capacity = int(np.diff(videos.offsets)[block.events["video"]].sum()) + len(block) * _FIXED_BYTES
    out = np.empty(capacity, np.uint8)
    starts = np.empty(len(block) + 1, np.int64)
    encode_plain(
        out, starts, order, block.ids, block.events["video"], block.events["viewed_at_ms"], block.events["kind"],
        videos.buffer, videos.offsets, _KINDS.buffer, _KINDS.offsets,
    )  # fmt: skip
    return out[: starts[-1]].tobytes(), starts.tolist()


def plain_events(block: Block, videos: Names) -> Iterator[tuple[int, bytes]]:
    """(salt, encoded PLAIN_EVENT) of each event, in the order of the block."""
    data, starts = _encoded(block, np.arange(len(block)), videos)
    for place, salt in enumerate(block.salt.tolist()):
        yield salt, data[starts[place] : starts[place + 1]]


def plain_batches(block: Block, videos: Names, *, events_per_batch: int) -> Iterator[tuple[int, bytes, int]]:
    """(salt, an Avro array of PLAIN_EVENT, number of events), with the same events in each as tools.load's records."""
    data, starts = _encoded(block, np.argsort(block.salt, kind="stable"), videos)
    at = 0
    for salt, end in enumerate(np.cumsum(np.bincount(block.salt, minlength=block.salts)).tolist()):
        while at < end:
            upto = min(at + events_per_batch, end)
            yield salt, varint(upto - at) + data[starts[at] : starts[upto]] + b"\x00", upto - at
            at = upto


def viewer_batches(block: Block, videos: Names, *, events_per_batch: int) -> Iterator[tuple[int, bytes, int]]:
    """(salt, an Avro array of VIEWER_EVENT, number of events), each made from the ViewBatch record of the events."""
    for record in records(block, videos, events_per_batch=events_per_batch):
        before = header(bytes(16), record.salt, block.salts, block.now_ms) + varint(record.events)
        # Each event gets the length of its id, and loses its device, which has at least one byte. So it never grows.
        out = np.empty(len(record.value), np.uint8)
        end = without_devices(out, np.frombuffer(record.value, np.uint8), len(before), record.events)
        yield record.salt, varint(record.events) + out[:end].tobytes() + b"\x00", record.events
