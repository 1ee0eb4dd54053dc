"""Encodes counts as the statements of CQL batches, in one pass over the rows (native protocol v5, section 4.1.7)."""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from settings.durations import MINUTE_MS, MINUTES_PER_DAY
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import leaf, njit
from udfs.logic.minutes.cells import DATED_ROW_BYTES_MIN, partition_hash, put_bytes, read_dated_row, split_key

# A date in CQL is the days since 1970 plus 2**31 (section 6.7).
EPOCH_DATE = 1 << 31
_VALUES = 6
# The bytes of a date and three numbers.
_NUMBERS_BYTES = 4 + 3 * 8
# The first three values, video_id, kind and day, are the partition key.
_KEY_VALUES = 3
_SHORT = struct.Struct(">H")
_INT = struct.Struct(">i")


class Inserts(NamedTuple):
    """The statements of a CQL batch: number, bytes, and the partition key of the first in the form of the driver."""

    number: int
    body: bytes
    routing_key: bytes


@njit(cache=True)
def _index(buf):  # type: ignore[no-untyped-def]
    """Return, for each dated row, (its place, its minute, a hash of its partition, which is video, kind and day)."""
    capacity = buf.shape[0] // DATED_ROW_BYTES_MIN + 1
    places = np.empty(capacity, np.int64)
    minutes = np.empty(capacity, np.int64)
    partitions = np.empty(capacity, np.uint64)
    n = 0
    at = np.int64(0)
    while at < buf.shape[0]:
        places[n] = at
        key, length, minute, _, at = read_dated_row(buf, at)
        minutes[n] = minute
        partitions[n] = partition_hash(buf, key, length, minute)
        n += 1
    return places[:n], minutes[:n], partitions[:n]


@leaf()
def head_bytes(query_id):  # type: ignore[no-untyped-def]
    """Return the number of bytes before the values of a statement."""
    return 3 + query_id.shape[0] + 2


@leaf()
def put_head(out, at, query_id, values):  # type: ignore[no-untyped-def]
    """Write the head of a prepared statement: its id and the number of values. Return the place after it."""
    out[at] = 1
    out[at + 1] = 0
    out[at + 2] = query_id.shape[0]
    at = put_bytes(out, at + 3, query_id, 0, query_id.shape[0])
    out[at] = 0
    out[at + 1] = values
    return at + 2


@leaf()
def put_length(out, at, length):  # type: ignore[no-untyped-def]
    """Write the length that stands before a value of less than 64 KiB. Return the place after it."""
    out[at] = 0
    out[at + 1] = 0
    out[at + 2] = (length >> 8) & 255
    out[at + 3] = length & 255
    return at + 4


@leaf()
def _put_number(out, at, value, length):  # type: ignore[no-untyped-def]
    """Write a number, big-endian, as a value. Return the place after it."""
    at = put_length(out, at, length)
    for i in range(length):
        out[at + i] = (value >> (8 * (length - 1 - i))) & 255
    return at + length


@njit(cache=True)
def _pack(buf, places, partitions, order, query_id, rows_max, partitions_max, bytes_max):  # type: ignore[no-untyped-def]
    """Return (bytes of all CQL batches, where each ends, rows of each)."""
    n = order.shape[0]
    out = np.empty(buf.shape[0] + n * (query_id.shape[0] + 64), np.uint8)
    ends = np.empty(n, np.int64)
    numbers = np.empty(n, np.int64)
    batches = 0
    in_batch = 0
    partitions_in_batch = 0
    batch_at = 0
    at = 0
    for i in range(n):
        row = order[i]
        key, length, minute, views, _ = read_dated_row(buf, places[row])
        # `length` counts kind and video and the kind's length byte, which is not written. Each value has its length.
        size = head_bytes(query_id) + length - 1 + _NUMBERS_BYTES + 4 * _VALUES
        if i == 0 or partitions[row] != partitions[order[i - 1]]:
            partitions_in_batch += 1
        if i == 0 or in_batch == rows_max or partitions_in_batch > partitions_max or at + size - batch_at > bytes_max:
            batch_at = at
            batches += 1
            in_batch = 0
            partitions_in_batch = 1
        in_batch += 1
        kind, kind_len, video, video_len = split_key(buf, key, length)
        at = put_head(out, at, query_id, _VALUES)
        for start, size in ((video, video_len), (kind, kind_len)):
            at = put_bytes(out, put_length(out, at, size), buf, start, size)
        start_ms = minute * MINUTE_MS
        at = _put_number(out, at, EPOCH_DATE + minute // MINUTES_PER_DAY, 4)
        at = _put_number(out, at, start_ms, 8)
        at = _put_number(out, at, views, 8)
        at = _put_number(out, at, start_ms * 1000 + views, 8)
        ends[batches - 1] = at
        numbers[batches - 1] = in_batch
    return out[:at], ends[:batches], numbers[:batches]


def pack_inserts(
    dated_rows: bytes, query_id: bytes, *, rows_max: int, partitions_max: int, bytes_max: int
) -> Iterator[Inserts]:
    """Yield CQL batches that execute a prepared statement for each row.

    Its values are (video_id, kind, day, minute, views, write timestamp). The write timestamp, in µs, is the minute's
    start plus views. Rows are ordered so that minutes of one partition (video, kind, day) are in one CQL batch, where
    they are one write. A CQL batch has at most `bytes_max` bytes, unless a single row has more.
    """
    buf = np.frombuffer(dated_rows, np.uint8)
    places, minutes, partitions = _index(buf)
    order = np.lexsort((minutes, partitions))
    query = np.frombuffer(query_id, np.uint8)
    out, ends, numbers = _pack(buf, places, partitions, order, query, rows_max, partitions_max, bytes_max)
    yield from cut(out, ends.tolist(), numbers.tolist(), head_bytes(query), _KEY_VALUES)


def cut(out: Bytes, ends: Iterable[int], numbers: Iterable[int], head: int, key_values: int) -> Iterator[Inserts]:
    """Cut `out` into CQL batches that end at `ends` and have `numbers` statements.

    In each statement, the first `key_values` values after `head` bytes are the partition key.
    """
    start = 0
    for end, number in zip(ends, numbers, strict=True):
        body = out[start:end].tobytes()
        yield Inserts(number, body, _routing_key(body, head, key_values))
        start = end


def _routing_key(body: bytes, at: int, values: int) -> bytes:
    """Make the partition key of the values at `at` in the driver's form: each value's length, its bytes and a zero."""
    columns = []
    for _ in range(values):
        (length,) = _INT.unpack_from(body, at)
        at += _INT.size
        columns.append(_SHORT.pack(length) + body[at : at + length] + b"\0")
        at += length
    return b"".join(columns)
