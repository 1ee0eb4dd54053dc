"""The ids counted in one generation: an exact open-addressing set of 16-byte ids, 16 bytes a slot.

Grows by doubling at three quarters full. An all-zero id is kept beside the table, since zeros mark a free slot.
"""

import numpy as np
import numpy.typing as npt

from udfs.logic.hashing import mix64
from udfs.logic.numba_compat import njit

Ids = npt.NDArray[np.uint64]
SLOTS_MIN = 1 << 10


@njit(cache=True)
def contains(table, low, high):  # type: ignore[no-untyped-def]
    """Whether the id (low, high), not all zero, is in the table."""
    mask = np.uint64(table.shape[0] - 1)
    slot = mix64(low ^ mix64(high)) & mask
    while table[slot, 0] != 0 or table[slot, 1] != 0:
        if table[slot, 0] == low and table[slot, 1] == high:
            return True
        slot = (slot + np.uint64(1)) & mask
    return False


@njit(cache=True)
def insert(table, low, high):  # type: ignore[no-untyped-def]
    """Put the id in, unless it is there; whether it was new. The caller keeps a slot free."""
    mask = np.uint64(table.shape[0] - 1)
    slot = mix64(low ^ mix64(high)) & mask
    while table[slot, 0] != 0 or table[slot, 1] != 0:
        if table[slot, 0] == low and table[slot, 1] == high:
            return False
        slot = (slot + np.uint64(1)) & mask
    table[slot, 0] = low
    table[slot, 1] = high
    return True


@njit(cache=True)
def insert_all(table, ids):  # type: ignore[no-untyped-def]
    """Put ids[n, 2] in; how many were new."""
    new = 0
    for i in range(ids.shape[0]):
        if ids[i, 0] == 0 and ids[i, 1] == 0:
            continue
        if insert(table, ids[i, 0], ids[i, 1]):
            new += 1
    return new


@njit(cache=True)
def _rehash(table, slots):  # type: ignore[no-untyped-def]
    larger = np.zeros((slots, 2), np.uint64)
    for i in range(table.shape[0]):
        if table[i, 0] != 0 or table[i, 1] != 0:
            insert(larger, table[i, 0], table[i, 1])
    return larger


class IdIndex:
    """A set of event ids. `table`, `used` and `zero` belong to the kernels of udfs.logic.dedup."""

    def __init__(self) -> None:
        self.table: Ids = np.zeros((SLOTS_MIN, 2), np.uint64)
        self.used = 0
        self.zero = False

    def reserve(self, more: int) -> None:
        """Make room for this many further ids."""
        slots = self.table.shape[0]
        while (self.used + more) * 4 > slots * 3:
            slots *= 2
        if slots != self.table.shape[0]:
            self.table = _rehash(self.table, slots)

    def add_all(self, ids: Ids) -> None:
        """Add ids[n, 2], as the chunks of the state hold them."""
        self.reserve(len(ids))
        self.used += insert_all(self.table, ids)
        self.zero = self.zero or bool((ids == 0).all(axis=1).any())
