"""Encodes counts as values of the view-counts topic, in one pass over the rows, and finds partitions that are new.

A value consists of a head, which is made here from a dated row, and a tail with the video's metadata (schemas/avro,
ViewCount).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas import registry
from settings.durations import MINUTE_MS, MINUTES_PER_DAY
from udfs.logic.kernels.hashing import mix64
from udfs.logic.kernels.id_index import insert
from udfs.logic.kernels.numba_compat import leaf, njit
from udfs.logic.minutes.cells import DATED_ROW_BYTES_MIN, partition_hash, put_bytes, read_dated_row, split_key

NOTHING_KNOWN = b"\x00"
# Two varints of ten bytes, and two lengths of at most two bytes.
_HEAD_BYTES_MORE = 24


class Messages(NamedTuple):
    """A message of `view-counts` for each dated row, without its last field, the metadata.

    Message i is `heads[starts[i] : ends[i]]`, and its video_id is `heads[video_starts[i] : video_ends[i]]`.
    `partitions` (uint64[n, 2]) are hashes of video, kind and day, which is a partition of the table, and are never all
    zero. `newest_day` is the last day of all rows, in days since 1970.
    """

    heads: bytes
    starts: list[int]
    ends: list[int]
    video_starts: list[int]
    video_ends: list[int]
    partitions: npt.NDArray[np.uint64]
    newest_day: int


def about_tail(about: bytes) -> bytes:
    """Return the tail of a video's values, from its metadata."""
    return b"\x02" + about


@leaf()
def _put_varint(out, at, value):  # type: ignore[no-untyped-def]
    """Write an Avro int or long, and return the place after it."""
    rest = np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))
    while rest > 127:
        out[at] = np.uint8((rest & np.uint64(127)) | np.uint64(128))
        rest >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@njit(cache=True)
def _encode(buf, prefix):  # type: ignore[no-untyped-def]
    capacity = buf.shape[0] // DATED_ROW_BYTES_MIN + 1
    out = np.empty(buf.shape[0] + capacity * (prefix.shape[0] + _HEAD_BYTES_MORE), np.uint8)
    # Where the head and the video of each row start and end.
    places = np.empty((4, capacity), np.int64)
    partitions = np.empty((capacity, 2), np.uint64)
    newest = np.int64(-(1 << 62))
    n = 0
    at = np.int64(0)
    end = np.int64(0)
    while at < buf.shape[0]:
        key, length, minute, views, at = read_dated_row(buf, at)
        kind, kind_len, video, video_len = split_key(buf, key, length)
        places[0, n] = end
        end = put_bytes(out, end, prefix, 0, prefix.shape[0])
        end = _put_varint(out, end, video_len)
        places[2, n] = end
        end = put_bytes(out, end, buf, video, video_len)
        places[3, n] = end
        end = _put_varint(out, end, kind_len)
        end = put_bytes(out, end, buf, kind, kind_len)
        end = _put_varint(out, end, minute * MINUTE_MS)
        end = _put_varint(out, end, views)
        places[1, n] = end
        newest = max(newest, minute)
        # The second hash is computed in other steps than the first.
        other = np.uint64(0x9E3779B97F4A7C15)
        for j in range(length):
            other = mix64(other ^ np.uint64(buf[key + j]))
        partitions[n, 0] = partition_hash(buf, key, length, minute)
        partitions[n, 1] = mix64(other ^ np.uint64(minute // MINUTES_PER_DAY)) | np.uint64(1)
        n += 1
    return out[:end], places[:, :n], partitions[:n], newest // MINUTES_PER_DAY


def encode_counts(dated_rows: bytes) -> Messages:
    """Encode dated rows of udfs.logic.minutes.cells, in their order."""
    prefix = np.frombuffer(registry.prefix("ViewCount"), np.uint8)
    heads, places, partitions, newest_day = _encode(np.frombuffer(dated_rows, np.uint8), prefix)
    starts, ends, video_starts, video_ends = places.tolist()
    return Messages(heads.tobytes(), starts, ends, video_starts, video_ends, partitions, int(newest_day))


@njit(cache=True)
def insert_new(table, partitions, versions):  # type: ignore[no-untyped-def]
    """Insert (partition, version) of each row into a table of id_index.py. Return (which were new, how many)."""
    n = partitions.shape[0]
    is_new = np.zeros(n, np.bool_)
    number = 0
    for i in range(n):
        if insert(table, partitions[i, 0] ^ mix64(np.uint64(versions[i])), partitions[i, 1]):
            is_new[i] = True
            number += 1
    return is_new, number
