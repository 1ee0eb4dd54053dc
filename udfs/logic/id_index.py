"""The ids counted in one generation: an exact open-addressing set of 16-byte ids, 16 bytes a slot.

A slot is found by multiplication (Lemire, "Fast random integer generation in an interval", 2019), so that a table has
any number of slots and grows by a third at a time: 21 to 29 bytes an id, where doubling would take up to 43. A larger
table has the same order, and is filled from the smaller one from front to back. An all-zero id is kept beside the
table, since zeros mark a free slot.
"""

import numpy as np
import numpy.typing as npt

from udfs.logic.hashing import mix64
from udfs.logic.numba_compat import leaf, njit

Ids = npt.NDArray[np.uint64]
SLOTS_MIN = 1 << 10
# Full, when it grows, by a third.
_FULL = (3, 4)
_GROWTH = (4, 3)
_LOW_HALF = np.uint64(32)


@leaf()
def slot_of(low, high, slots):  # type: ignore[no-untyped-def]
    """Where the search for the id begins, in a table of less than 2**32 slots."""
    return ((mix64(low ^ mix64(high)) >> _LOW_HALF) * slots) >> _LOW_HALF


@leaf()
def contains(table, low, high):  # type: ignore[no-untyped-def]
    """Whether the id (low, high), not all zero, is in the table."""
    slots = np.uint64(table.shape[0])
    slot = slot_of(low, high, slots)
    while table[slot, 0] != 0 or table[slot, 1] != 0:
        if table[slot, 0] == low and table[slot, 1] == high:
            return True
        slot += np.uint64(1)
        if slot == slots:
            slot = np.uint64(0)
    return False


@leaf()
def insert(table, low, high):  # type: ignore[no-untyped-def]
    """Put the id in, unless it is there; whether it was new. The caller keeps a slot free."""
    slots = np.uint64(table.shape[0])
    slot = slot_of(low, high, slots)
    while table[slot, 0] != 0 or table[slot, 1] != 0:
        if table[slot, 0] == low and table[slot, 1] == high:
            return False
        slot += np.uint64(1)
        if slot == slots:
            slot = np.uint64(0)
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


@njit(cache=True)
def _places(table, zero, ids):  # type: ignore[no-untyped-def]
    """The rows of ids[n, 2] that are in the table."""
    found = np.empty(ids.shape[0], np.int64)
    n = 0
    for i in range(ids.shape[0]):
        low, high = ids[i, 0], ids[i, 1]
        is_zero = low == 0 and high == 0
        if (is_zero and zero) or (not is_zero and contains(table, low, high)):
            found[n] = i
            n += 1
    return found[:n]


class IdIndex:
    """A set of event ids. `table`, `used` and `zero` belong to the kernels of udfs.logic.dedup."""

    def __init__(self) -> None:
        self.table: Ids = np.zeros((SLOTS_MIN, 2), np.uint64)
        self.used = 0
        self.zero = False

    def reserve(self, more: int) -> None:
        """Make room for this many further ids."""
        slots = self.table.shape[0]
        while (self.used + more) * _FULL[1] > slots * _FULL[0]:
            slots = slots * _GROWTH[0] // _GROWTH[1]
        if slots != self.table.shape[0]:
            self.table = _rehash(self.table, slots)

    def add_all(self, ids: Ids) -> None:
        """Add ids[n, 2], as the chunks of the state hold them."""
        self.reserve(len(ids))
        self.used += insert_all(self.table, ids)
        self.zero = self.zero or bool((ids == 0).all(axis=1).any())

    def ids(self) -> Ids:
        """Every id, in no order that means anything, but always the same for the same table."""
        found = self.table[(self.table != 0).any(axis=1)]
        return np.concatenate([found, np.zeros((1, 2), np.uint64)]) if self.zero else found

    def places_in(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The rows of ids[n, 2] that are in the set."""
        found: npt.NDArray[np.int64] = _places(self.table, self.zero, ids)
        return found
