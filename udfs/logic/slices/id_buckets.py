"""Divides the seen ids of an hour in a slice's file into buckets, so that looking up a few ids reads little.

The number of buckets of an hour viewed is a power of two. Each bucket is a row group, even if it is empty, so an hour
has as many buckets as row groups. A single row group, as in older slices, is a single bucket.
"""

import numpy as np
import numpy.typing as npt

from udfs.logic.kernels.hashing import mix64
from udfs.logic.kernels.id_index import Ids
from udfs.logic.kernels.numba_compat import leaf, njit

# About 400 KB, which are read to look up one id.
BUCKET_ROWS = 16_384
BUCKETS_MAX = 256


def buckets_for(rows: int) -> int:
    """Return the number of buckets for so many ids of an hour."""
    return min(1 << max(-(-rows // BUCKET_ROWS) - 1, 0).bit_length(), BUCKETS_MAX)


@leaf()
def _bucket(low, high, buckets):  # type: ignore[no-untyped-def]
    # These are the lower bits of the hash. A table of ids takes the upper half.
    return np.int64(mix64(low ^ mix64(high)) & np.uint64(buckets - 1))


@njit(cache=True)
def _buckets(ids, buckets):  # type: ignore[no-untyped-def]
    found = np.empty(ids.shape[0], np.int64)
    for i in range(ids.shape[0]):
        found[i] = _bucket(ids[i, 0], ids[i, 1], buckets)
    return found


def buckets_of(ids: Ids, buckets: int) -> npt.NDArray[np.int64]:
    """Return the bucket of each id, of so many buckets (a power of two)."""
    found: npt.NDArray[np.int64] = _buckets(ids, buckets)
    return found


@njit(cache=True)
def _ordered(ids, places, buckets, begins, groups):  # type: ignore[no-untyped-def]
    """Return (order, rows of each group). It is a counting sort, which keeps the order of rows within a group."""
    rows = np.zeros(groups + 1, np.int64)
    group_of = np.empty(ids.shape[0], np.int32)
    for i in range(ids.shape[0]):
        hour = places[i]
        group = begins[hour] + _bucket(ids[i, 0], ids[i, 1], buckets[hour])
        group_of[i] = group
        rows[group + 1] += 1
    ends = np.cumsum(rows)
    order = np.empty(ids.shape[0], np.int64)
    for i in range(ids.shape[0]):
        order[ends[group_of[i]]] = i
        ends[group_of[i]] += 1
    return order, rows[1:]


def in_buckets(ids: Ids, hours: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
    """Return (the order by hour and bucket, (hour, rows) of each bucket in that order). `hours` are hours viewed."""
    each, places, numbers = np.unique(hours, return_inverse=True, return_counts=True)
    buckets = np.array([buckets_for(rows) for rows in numbers.tolist()], np.int64)
    begins = np.cumsum(buckets) - buckets
    order, rows = _ordered(ids, places.reshape(-1), buckets, begins, int(buckets.sum()))
    return order, list(zip(np.repeat(each, buckets).tolist(), rows.tolist(), strict=True))
