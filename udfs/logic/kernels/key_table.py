"""Numbers the keys of cells (udfs.logic.minutes.cells): an open-addressing table, and the bytes that hold the keys."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from udfs.logic.kernels.hashing import quick_hash
from udfs.logic.kernels.numba_compat import leaf, njit

Bytes = npt.NDArray[np.uint8]
Number = TypeVar("Number", bound=np.generic)


@leaf()
def key_slot(buf, key, length, mask):  # type: ignore[no-untyped-def]
    """Return the slot at which the search for a key begins.

    Kind and video both go into the hash, because clients choose both.
    """
    return quick_hash(buf, key, length) & mask


@njit(cache=True)
def _fill(slots, arena, key_at, key_len, n):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for key in range(n):
        slot = key_slot(arena, key_at[key], key_len[key], mask)
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = key


class KeyTable:
    """Keys 0 to n - 1: key i is arena[at[i] :][: length[i]]. Kernels of other modules look keys up and add them."""

    def __init__(self) -> None:
        self.slots = np.full(128, -1, np.int32)
        self.arena = np.zeros(1024, np.uint8)
        self.arena_used = 0
        self.at = np.zeros(64, np.int64)
        self.length = np.zeros(64, np.int64)
        self.n = 0

    def reserve(self, keys: int, octets: int) -> int:
        """Make room for so many further keys and bytes of keys. Return for how many keys in all there is room then."""
        if self.n + keys > len(self.at):
            size = 1 << (self.n + keys).bit_length()
            self.at, self.length = grown(self.at, size), grown(self.length, size)
            self.slots = np.full(2 * size, -1, np.int32)
            _fill(self.slots, self.arena, self.at, self.length, self.n)
        if self.arena_used + octets > len(self.arena):
            self.arena = grown(self.arena, 2 * (self.arena_used + octets))
        return len(self.at)

    def has_room(self, keys: int, octets: int) -> bool:
        """Return whether there is room for so many further keys and bytes of keys without `reserve`."""
        return self.n + keys <= len(self.at) and self.arena_used + octets <= len(self.arena)

    def fill_slots(self) -> None:
        """Fill `slots` from the keys, after it was replaced by another array."""
        self.slots[:] = -1
        _fill(self.slots, self.arena, self.at, self.length, self.n)

    def keys(self) -> tuple[Bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return (the bytes that hold the keys, where each key begins, how long each key is)."""
        return self.arena, self.at[: self.n], self.length[: self.n]


def grown(array: npt.NDArray[Number], size: int) -> npt.NDArray[Number]:
    """Return a copy of the array, filled up with zeros to this size."""
    larger = np.zeros(size, array.dtype)
    larger[: len(array)] = array
    return larger
