"""How what is known of an hour lies in a slice's file: in buckets by id, so that who looks for a few ids reads little.

An hour viewed has a power of two of buckets, each a row group, also an empty one: how many row groups an hour has says
how many buckets. One row group, as in slices of code before this, is a single bucket.
"""

import numpy as np
import numpy.typing as npt

from udfs.logic.kernels.hashing import mix64
from udfs.logic.kernels.id_index import Ids
from udfs.logic.kernels.numba_compat import leaf, njit

# Some 400 KB: what is read for an id that is looked for.
BUCKET_ROWS = 16_384
BUCKETS_MAX = 256


def buckets_for(rows: int) -> int:
    """How many buckets so many ids of an hour have."""
    return min(1 << max(-(-rows // BUCKET_ROWS) - 1, 0).bit_length(), BUCKETS_MAX)


@leaf()
def _bucket(low, high, buckets):  # type: ignore[no-untyped-def]
    # The table of ids takes the upper half of this number.
    return np.int64(mix64(low ^ mix64(high)) & np.uint64(buckets - 1))


@njit(cache=True)
def _buckets(ids, buckets):  # type: ignore[no-untyped-def]
    found = np.empty(ids.shape[0], np.int64)
    for i in range(ids.shape[0]):
        found[i] = _bucket(ids[i, 0], ids[i, 1], buckets)
    return found


def buckets_of(ids: Ids, buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each id, of so many (a power of two)."""
    found: npt.NDArray[np.int64] = _buckets(ids, buckets)
    return found


@njit(cache=True)
def _ordered(ids, places, buckets, begins, groups):  # type: ignore[no-untyped-def]
    """(order, rows of each group): a counting sort, which leaves rows of a group in the order they came in."""
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
    """(order by hour and bucket, (hour, rows) of each bucket in it) of ids and the hours they were viewed in."""
    each, places, numbers = np.unique(hours, return_inverse=True, return_counts=True)
    buckets = np.array([buckets_for(rows) for rows in numbers.tolist()], np.int64)
    begins = np.cumsum(buckets) - buckets
    order, rows = _ordered(ids, places.reshape(-1), buckets, begins, int(buckets.sum()))
    return order, list(zip(np.repeat(each, buckets).tolist(), rows.tolist(), strict=True))
