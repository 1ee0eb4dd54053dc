"""Events as Flink SQL reads them best: plain Avro, no schema prefix, no field that the query does not ask for.

Flink's avro format derives its schema from the table's columns and knows no `fixed`, so that the id is `bytes`. The
same events go to the count job as ViewBatch records, with all their fields. Whoever counts viewers and countries too
reads VIEWER_EVENT.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.kernels import encode_plain, without_devices
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
# Id with its length, time, the lengths of two names, and the longest kind.
_FIXED_BYTES = 17 + 6 + 2 + 2 + max(map(len, KINDS))


def _encoded(block: Block, order: npt.NDArray[np.int64], videos: Names) -> tuple[bytes, list[int]]:
    """The events in this order, one after the other, and where each begins; the end comes last."""
    capacity = int(np.diff(videos.offsets)[block.events["video"]].sum()) + len(block) * _FIXED_BYTES
    out = np.empty(capacity, np.uint8)
    starts = np.empty(len(block) + 1, np.int64)
    encode_plain(
        out, starts, order, block.ids, block.events["video"], block.events["viewed_at_ms"], block.events["kind"],
        videos.buffer, videos.offsets, _KINDS.buffer, _KINDS.offsets,
    )  # fmt: skip
    return out[: starts[-1]].tobytes(), starts.tolist()


def plain_events(block: Block, videos: Names) -> Iterator[tuple[int, bytes]]:
    """(salt, a PLAIN_EVENT datum) of each event, in the block's order."""
    data, starts = _encoded(block, np.arange(len(block)), videos)
    for place, salt in enumerate(block.salt.tolist()):
        yield salt, data[starts[place] : starts[place + 1]]


def plain_batches(block: Block, videos: Names, *, events_per_batch: int) -> Iterator[tuple[int, bytes, int]]:
    """(salt, an Avro array of PLAIN_EVENT, events in it), cut exactly as tools.load cuts ViewBatch records."""
    data, starts = _encoded(block, np.argsort(block.salt, kind="stable"), videos)
    at = 0
    for salt, end in enumerate(np.cumsum(np.bincount(block.salt, minlength=block.salts)).tolist()):
        while at < end:
            upto = min(at + events_per_batch, end)
            yield salt, varint(upto - at) + data[starts[at] : starts[upto]] + b"\x00", upto - at
            at = upto


def viewer_batches(block: Block, videos: Names, *, events_per_batch: int) -> Iterator[tuple[int, bytes, int]]:
    """(salt, an array of VIEWER_EVENT, events in it), each made of a ViewBatch record: of the same events."""
    for record in records(block, videos, events_per_batch=events_per_batch):
        before = header(bytes(16), record.salt, block.salts, block.now_ms) + varint(record.events)
        # To each event comes the length of its id, and its device goes, which is a byte at least.
        out = np.empty(len(record.value), np.uint8)
        end = without_devices(out, np.frombuffer(record.value, np.uint8), len(before), record.events)
        yield record.salt, varint(record.events) + out[:end].tobytes() + b"\x00", record.events
