"""The seen ids of one generation: an exact open-addressing set of 16-byte ids, 16 bytes a slot.

A multiplication finds the slot (Lemire, "Fast random integer generation in an interval", 2019). So a table can have any
number of slots and grows by a third at a time: an id takes 21 to 29 bytes, where doubling would take up to 43. A larger
table keeps the order of the smaller one, and is filled from it from front to back. An all-zero id is kept beside the
table, since zeros mark a free slot.
"""

import numpy as np
import numpy.typing as npt

from udfs.logic.kernels.hashing import mix64
from udfs.logic.kernels.memory_budget import Budget, FileBlock
from udfs.logic.kernels.numba_compat import hash_secret, leaf, njit

Ids = npt.NDArray[np.uint64]
SLOTS_MIN = 1 << 10
# A table grows when three quarters of its slots are used, to four thirds of its slots.
_FULL = (3, 4)
_GROWTH = (4, 3)
_LOW_HALF = np.uint64(32)
_SLOT_BYTES = 16
# So many slots are moved before the pages of a file are released.
_SLOTS_AT_ONCE = 1 << 16


@leaf()
def slot_of(low, high, slots):  # type: ignore[no-untyped-def]
    """Return the slot at which the search for the id begins, in a table of less than 2**32 slots."""
    return ((mix64(low ^ mix64(high ^ hash_secret())) >> _LOW_HALF) * slots) >> _LOW_HALF


@leaf()
def contains(table, low, high):  # type: ignore[no-untyped-def]
    """Return whether the id (low, high), which is not all zero, is in the table."""
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
    """Insert the id if it is not there, and return whether it was new. The caller keeps a slot free."""
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
    """Insert ids[n, 2], except the all-zero id, and return how many were new."""
    new = 0
    for i in range(ids.shape[0]):
        if ids[i, 0] == 0 and ids[i, 1] == 0:
            continue
        if insert(table, ids[i, 0], ids[i, 1]):
            new += 1
    return new


@njit(cache=True)
def _move(table, larger):  # type: ignore[no-untyped-def]
    for i in range(table.shape[0]):
        if table[i, 0] != 0 or table[i, 1] != 0:
            insert(larger, table[i, 0], table[i, 1])


@njit(cache=True)
def _places(table, zero, ids):  # type: ignore[no-untyped-def]
    """Return the indexes of those rows of ids[n, 2] that are in the table."""
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
    """A set of event ids. Kernels of udfs.logic.stream.dedup read and write `table`, `used` and `zero`.

    With a budget, the table may be moved to a file. Code that has used the table then calls `let_go`.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.table: Ids = np.zeros((SLOTS_MIN, 2), np.uint64)
        self.used = 0
        self.zero = False
        # Whether its generation takes no more ids.
        self.is_past = False
        self._budget = budget
        self._block: FileBlock | None = None
        if budget is not None:
            budget.changed(self)

    @property
    def held_bytes(self) -> int:
        """The table's bytes in memory."""
        return self.table.nbytes if self._block is None else 0

    @property
    def spilled_bytes(self) -> int:
        """The table's bytes in a file."""
        return 0 if self._block is None else self.table.nbytes

    @property
    def coldness(self) -> int:
        """1 for the generation before, whose table is read and never written; otherwise 0."""
        return int(self.is_past)

    @property
    def is_in_file(self) -> bool:
        """Whether the table is in a file, so that code that has used it must call `let_go`."""
        return self._block is not None

    def reserve(self, more: int) -> None:
        """Make room for this many further ids."""
        slots = self._slots_with(more)
        if slots != self.table.shape[0]:
            self._grow(slots)

    def bytes_with(self, more: int) -> int:
        """Return how many bytes the table has once there is room for this many further ids."""
        return self._slots_with(more) * _SLOT_BYTES

    def let_go(self) -> None:
        """Release the pages of the table's file, if it is in one."""
        if self._block is not None:
            self._block.let_go()

    def to_file(self, budget: Budget) -> None:
        """Move the table to a file. It stays in memory when there is no room for the file."""
        block = budget.block(self.table.nbytes)
        if block is None:
            return
        larger = block.array(0, self.table.shape, np.uint64)
        for at in range(0, len(larger), _SLOTS_AT_ONCE):
            larger[at : at + _SLOTS_AT_ONCE] = self.table[at : at + _SLOTS_AT_ONCE]
            block.let_go()
        self.table, self._block = larger, block

    def forget(self) -> None:
        """Take the table out of the budget: it is used no more."""
        if self._budget is not None:
            self._budget.forget(self)

    def add_all(self, ids: Ids) -> None:
        """Add ids[n, 2], as the chunks of the state hold them."""
        self.reserve(len(ids))
        self.used += insert_all(self.table, ids)
        self.zero = self.zero or bool((ids == 0).all(axis=1).any())

    def ids(self) -> Ids:
        """Return every id as uint64[n, 2]. The order has no meaning, but is always the same for the same table."""
        found = self.table[(self.table != 0).any(axis=1)]
        self.let_go()
        return np.concatenate([found, np.zeros((1, 2), np.uint64)]) if self.zero else found

    def places_in(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Return the indexes of those rows of ids[n, 2] that are in the set."""
        found: npt.NDArray[np.int64] = _places(self.table, self.zero, ids)
        self.let_go()
        return found

    def _slots_with(self, more: int) -> int:
        slots = self.table.shape[0]
        while (self.used + more) * _FULL[1] > slots * _FULL[0]:
            slots = slots * _GROWTH[0] // _GROWTH[1]
        return slots

    def _grow(self, slots: int) -> None:
        block = None
        if self._block is not None and self._budget is not None:
            block = self._budget.block(slots * _SLOT_BYTES)
        larger = np.zeros((slots, 2), np.uint64) if block is None else block.array(0, (slots, 2), np.uint64)
        # Both tables have the same order, so both are accessed from front to back.
        step = _SLOTS_AT_ONCE if self._block is not None else len(self.table)
        for at in range(0, len(self.table), step):
            _move(self.table[at : at + step], larger)
            self.let_go()
            if block is not None:
                block.let_go()
        self.table, self._block = larger, block
        if self._budget is not None:
            self._budget.changed(self)
