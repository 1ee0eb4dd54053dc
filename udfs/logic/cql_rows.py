"""Counts as the statements of a CQL BATCH, encoded in one pass over the rows (native protocol v5, section 4.1.7)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from udfs.logic.cells import get_uint
from udfs.logic.hashing import hash_bytes, mix64
from udfs.logic.numba_compat import njit
from udfs.logic.time_rules import MINUTE_MS

MINUTES_PER_DAY = 1440
# A date in CQL is the days since 1970 plus 2**31 (section 6.7).
_EPOCH_DATE = 1 << 31
_VALUES = 6
# Of a dated row what is not key: its length, minute and count.
_DATED_ROW_FIXED = 13
_SHORT = struct.Struct(">H")
_DATE = struct.Struct(">I")


class Inserts(NamedTuple):
    """The statements of one batch: how many, their bytes, and the partition key of the first as the driver has it."""

    number: int
    body: bytes
    routing_key: bytes


@njit(cache=True)
def _index(buf):  # type: ignore[no-untyped-def]
    """Of each dated row: (its place, its minute, a hash of its partition: video, kind and day)."""
    capacity = buf.shape[0] // (_DATED_ROW_FIXED + 2) + 1
    places = np.empty(capacity, np.int64)
    minutes = np.empty(capacity, np.int64)
    partitions = np.empty(capacity, np.uint64)
    n = 0
    at = np.int64(0)
    while at < buf.shape[0]:
        length = np.int64(buf[at])
        minute = get_uint(buf, at + 1 + length, 8)
        places[n] = at
        minutes[n] = minute
        partitions[n] = hash_bytes(buf, at + 1, length) ^ mix64(np.uint64(minute // MINUTES_PER_DAY))
        n += 1
        at += _DATED_ROW_FIXED + length
    return places[:n], minutes[:n], partitions[:n]


@njit(cache=True)
def _put(out, at, value, length):  # type: ignore[no-untyped-def]
    """A value of a big-endian number: its length, then its bytes."""
    out[at] = 0
    out[at + 1] = 0
    out[at + 2] = 0
    out[at + 3] = length
    for i in range(length):
        out[at + 4 + i] = (value >> (8 * (length - 1 - i))) & 255
    return at + 4 + length


@njit(cache=True)
def _pack(buf, places, minutes, partitions, order, query_id, rows_max, partitions_max):  # type: ignore[no-untyped-def]
    """(bytes of all batches, where each ends, rows of each, the first row of each)."""
    n = order.shape[0]
    out = np.empty(buf.shape[0] + n * (query_id.shape[0] + 64), np.uint8)
    ends = np.empty(n, np.int64)
    numbers = np.empty(n, np.int64)
    firsts = np.empty(n, np.int64)
    batches = 0
    in_batch = 0
    partitions_in_batch = 0
    at = 0
    for i in range(n):
        row = order[i]
        is_next = i == 0 or partitions[row] != partitions[order[i - 1]]
        if is_next:
            partitions_in_batch += 1
        if i == 0 or in_batch == rows_max or partitions_in_batch > partitions_max:
            batches += 1
            in_batch = 0
            partitions_in_batch = 1
            firsts[batches - 1] = row
        in_batch += 1
        place = places[row]
        length = np.int64(buf[place])
        kind_len = np.int64(buf[place + 1])
        kind = place + 2
        video = kind + kind_len
        video_len = length - 1 - kind_len
        # A prepared statement, its id, the number of values.
        out[at] = 1
        out[at + 1] = 0
        out[at + 2] = query_id.shape[0]
        at += 3
        for j in range(query_id.shape[0]):
            out[at + j] = query_id[j]
        at += query_id.shape[0]
        out[at] = 0
        out[at + 1] = _VALUES
        at += 2
        for start, size in ((video, video_len), (kind, kind_len)):
            out[at] = 0
            out[at + 1] = 0
            out[at + 2] = 0
            out[at + 3] = size
            at += 4
            for j in range(size):
                out[at + j] = buf[start + j]
            at += size
        views = get_uint(buf, place + 1 + length + 8, 4)
        start_ms = minutes[row] * MINUTE_MS
        at = _put(out, at, _EPOCH_DATE + minutes[row] // MINUTES_PER_DAY, 4)
        at = _put(out, at, start_ms, 8)
        at = _put(out, at, views, 8)
        at = _put(out, at, start_ms * 1000 + views, 8)
        ends[batches - 1] = at
        numbers[batches - 1] = in_batch
    return out[:at], ends[:batches], numbers[:batches], firsts[:batches]


def pack_inserts(dated_rows: bytes, query_id: bytes, *, rows_max: int, partitions_max: int) -> Iterator[Inserts]:
    """Batches of executions of a prepared statement, each with a row's (video_id, kind, day, minute, views, timestamp).

    The timestamp is in µs, the minute's start plus views. Minutes of one partition (video, kind, day) meet in one
    batch, in order, where they are one write.
    """
    buf = np.frombuffer(dated_rows, np.uint8)
    places, minutes, partitions = _index(buf)
    order = np.lexsort((minutes, partitions))
    out, ends, numbers, firsts = _pack(
        buf, places, minutes, partitions, order, np.frombuffer(query_id, np.uint8), rows_max, partitions_max
    )
    start = 0
    for end, number, first in zip(ends.tolist(), numbers.tolist(), firsts.tolist(), strict=True):
        yield Inserts(
            number, out[start:end].tobytes(), _routing_key(dated_rows, int(places[first]), int(minutes[first]))
        )
        start = end


def _routing_key(dated_rows: bytes, place: int, minute: int) -> bytes:
    """Of each column of the key its length, its bytes and a zero."""
    kind_at = place + 2
    video_at = kind_at + dated_rows[place + 1]
    end = place + 1 + dated_rows[place]
    columns = (
        dated_rows[video_at:end],
        dated_rows[kind_at:video_at],
        _DATE.pack(_EPOCH_DATE + minute // MINUTES_PER_DAY),
    )
    return b"".join(_SHORT.pack(len(column)) + column + b"\0" for column in columns)
