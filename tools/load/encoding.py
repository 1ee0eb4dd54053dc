"""Encodes blocks of events as ViewBatch records by salt, hundreds of thousands of events a second. Knows no Kafka.

The bytes are those of schemas/avro/ViewBatch.v1 in single-object encoding; tests compare them with fastavro's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.registry import prefix
from schemas.varint import varint
from tools.load.kernels import encode
from tools.load.traffic import Block
from tools.load.vocabulary import COUNTRIES, DEVICES, KINDS, Names

PRODUCER_ID = b"load"
# Upper limit of an event's bytes without the names that differ: id, time, and two bytes of branch and length per name.
_FIXED_BYTES = 16 + 6 + 5 * 2 + 8 + 2 + 6
_KINDS = Names(KINDS)
_COUNTRIES = Names(COUNTRIES)
_DEVICES = Names(DEVICES)


@dataclass(frozen=True)
class Record:
    """A Kafka record to send: its salt, its value and the number of events in it."""

    salt: int
    value: bytes
    events: int


def header(batch_id: bytes, salt: int, salts: int, produced_at_ms: int) -> bytes:
    """The bytes of a batch before its events."""
    return b"".join(
        (
            prefix("ViewBatch"), batch_id, varint(len(PRODUCER_ID)), PRODUCER_ID, varint(salt), varint(salts),
            varint(produced_at_ms),
        )
    )  # fmt: skip


def heartbeat(batch_id: bytes, salt: int, salts: int, now_ms: int) -> Record:
    """A heartbeat: a batch without events."""
    return Record(salt, header(batch_id, salt, salts, now_ms) + b"\x00", 0)


def records(block: Block, videos: Names, *, events_per_batch: int) -> Iterator[Record]:
    """The records of a block, salt by salt, each with at most `events_per_batch` events in the order of the block."""
    order = np.argsort(block.salt, kind="stable")
    capacity = int(np.diff(videos.offsets)[block.events["video"]].sum())
    capacity += len(block) * (_FIXED_BYTES + max(map(len, KINDS)))
    out = np.empty(capacity, np.uint8)
    starts = np.empty(len(block) + 1, np.int64)
    encode(
        out, starts, order, block.ids, block.events["video"], block.events["viewed_at_ms"],
        block.events["kind"], *_tables((videos, _KINDS, _COUNTRIES, _DEVICES)),
    )  # fmt: skip
    ends = np.cumsum(np.bincount(block.salt, minlength=block.salts))
    at = 0
    for salt, end in enumerate(ends.tolist()):
        while at < end:
            upto = min(at + events_per_batch, end)
            # The batch's id contains the place of its first event, so it is unique and the same in every run.
            batch_id = b"load" + int(salt).to_bytes(4, "big") + int(block.first + at).to_bytes(8, "big")
            data = out[starts[at] : starts[upto]].tobytes()
            yield Record(
                salt,
                b"".join((header(batch_id, salt, block.salts, block.now_ms), varint(upto - at), data, b"\x00")),
                upto - at,
            )
            at = upto


def single_events(block: Block, videos: Names) -> Iterator[bytes]:
    """Each event of the block as ViewEvent in Avro."""
    capacity = int(np.diff(videos.offsets)[block.events["video"]].sum())
    capacity += len(block) * (_FIXED_BYTES + max(map(len, KINDS)))
    out = np.empty(capacity, np.uint8)
    starts = np.empty(len(block) + 1, np.int64)
    encode(
        out, starts, np.arange(len(block)), block.ids, block.events["video"], block.events["viewed_at_ms"],
        block.events["kind"], *_tables((videos, _KINDS, _COUNTRIES, _DEVICES)),
    )  # fmt: skip
    data, places = out.tobytes(), starts.tolist()
    for place in range(len(block)):
        yield data[places[place] : places[place + 1]]


def _tables(names: Sequence[Names]) -> Iterator[npt.NDArray[np.generic]]:
    for table in names:
        yield table.buffer
        yield table.offsets
