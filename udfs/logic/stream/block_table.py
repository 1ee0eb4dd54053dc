"""The block list as arrays in which kernels look viewers up: names of viewers, and periods of append time.

A viewer with one period and a name of 36 bytes takes about 100 bytes. If it exceeds a budget, all of it lies in a file
that is mapped into memory, so that the same kernels work on the same arrays (docs/decisions/0044).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from udfs.logic.kernels.hashing import quick_hash
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.memory_budget import Budget, FileBlock, aligned
from udfs.logic.kernels.numba_compat import leaf, njit
from udfs.logic.minutes.cells import put_bytes, same_bytes, slots_for


class Period(NamedTuple):
    """A period of append time, in ms. The end does not belong to it."""

    from_ms: int
    until_ms: int


class BlockTable(NamedTuple):
    """A block list in the form that kernels read; `slots` of an open-addressing table point to viewers.

    Viewer i has the name arena[name_at[i] : name_at[i + 1]] and the periods in the rows period_at[i, 0] to
    period_at[i, 1] of `periods` (int64[n, 2]). It is valid until the list changes, because changes are made in place.
    """

    slots: npt.NDArray[np.int32]
    arena: Bytes
    name_at: npt.NDArray[np.int64]
    period_at: npt.NDArray[np.int64]
    periods: npt.NDArray[np.int64]


@njit(cache=True)
def _fill(slots, arena, name_at, viewers):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for viewer in range(viewers):
        start = name_at[viewer]
        slot = quick_hash(arena, start, name_at[viewer + 1] - start) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = viewer


@njit(cache=True)
def _place(slots, arena, name_at, viewers, names, ends):  # type: ignore[no-untyped-def]
    """Find each name, and add those that are new. Return (the number of each name's viewer, how many there are now).

    Name i is names[ends[i] : ends[i + 1]]. There must be room for all.
    """
    mask = np.uint64(slots.shape[0] - 1)
    found = np.empty(ends.shape[0] - 1, np.int64)
    for i in range(found.shape[0]):
        at = ends[i]
        length = ends[i + 1] - at
        slot = quick_hash(names, at, length) & mask
        while True:
            viewer = np.int64(slots[slot])
            if viewer < 0:
                viewer = viewers
                slots[slot] = viewer
                name_at[viewer + 1] = put_bytes(arena, name_at[viewer], names, at, length)
                viewers += 1
                break
            start = name_at[viewer]
            if name_at[viewer + 1] - start == length and same_bytes(arena, start, names, at, length):
                break
            slot = (slot + np.uint64(1)) & mask
        found[i] = viewer
    return found, viewers


@leaf()
def is_blocked(buf, at, length, append, slots, arena, name_at, period_at, periods):  # type: ignore[no-untyped-def]
    """Return whether the viewer buf[at : at + length] is blocked at this append time.

    The other arguments are the fields of a BlockTable.
    """
    if length <= 0:
        return False
    mask = np.uint64(slots.shape[0] - 1)
    slot = quick_hash(buf, at, length) & mask
    while slots[slot] >= 0:
        viewer = slots[slot]
        start = name_at[viewer]
        if name_at[viewer + 1] - start == length and same_bytes(arena, start, buf, at, length):
            for i in range(period_at[viewer, 0], period_at[viewer, 1]):
                if periods[i, 0] <= append < periods[i, 1]:
                    return True
            return False
        slot = (slot + np.uint64(1)) & mask
    return False


@njit(cache=True)
def _copy(arena, name_at, period_at, periods, new_arena, new_name_at, new_period_at, new_periods):  # type: ignore[no-untyped-def]
    """Copy the viewers that have periods, and the periods. Return how many of each were copied."""
    viewers = 0
    rows = 0
    for viewer in range(period_at.shape[0]):
        first, end = period_at[viewer, 0], period_at[viewer, 1]
        if first == end:
            continue
        start = name_at[viewer]
        length = name_at[viewer + 1] - start
        new_name_at[viewers + 1] = put_bytes(new_arena, new_name_at[viewers], arena, start, length)
        new_period_at[viewers, 0] = rows
        for row in range(first, end):
            new_periods[rows, 0] = periods[row, 0]
            new_periods[rows, 1] = periods[row, 1]
            rows += 1
        new_period_at[viewers, 1] = rows
        viewers += 1
    return viewers, rows


class _Sizes(NamedTuple):
    """There is room for so many viewers, bytes of their names, and periods."""

    viewers: int
    octets: int
    rows: int

    def at_least(self, needed: "_Sizes") -> "_Sizes":
        """Return sizes in which what is too small is replaced by what is needed and a third more."""
        return _Sizes(*(has if has >= wants else wants * 4 // 3 for has, wants in zip(self, needed, strict=True)))


class _Arrays:
    """The arrays of a table, in memory or in a block of a file."""

    def __init__(self, sizes: _Sizes, block: FileBlock | None = None) -> None:
        self.sizes = sizes
        self.block = block
        at = 0
        made = []
        for shape, kind in self._shapes(sizes):
            octets = int(np.prod(shape)) * np.dtype(kind).itemsize
            made.append(np.zeros(shape, kind) if block is None else block.array(at, shape, kind))
            at += aligned(octets)
        self.slots, self.arena, self.name_at, self.period_at, self.periods = made
        self.slots[:] = -1

    @staticmethod
    def octets(sizes: _Sizes) -> int:
        """Return the number of bytes of all arrays."""
        return sum(aligned(int(np.prod(shape)) * np.dtype(kind).itemsize) for shape, kind in _Arrays._shapes(sizes))

    @staticmethod
    def _shapes(sizes: _Sizes) -> list[tuple[tuple[int, ...], npt.DTypeLike]]:
        return [
            ((slots_for(sizes.viewers),), np.int32),
            ((sizes.octets,), np.uint8),
            ((sizes.viewers + 1,), np.int64),
            ((sizes.viewers, 2), np.int64),
            ((sizes.rows, 2), np.int64),
        ]


class Viewers:
    """Builds a BlockTable. The time of a change depends on what changes, not on the table's size. Not thread-safe."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._arrays = _Arrays(_Sizes(0, 0, 0))
        self._viewers = 0
        # The rows of `periods` that were given out, and how many of them a viewer still has.
        self.rows = 0
        self.rows_in_use = 0
        self._note()

    @property
    def held_bytes(self) -> int:
        """Its bytes in memory."""
        return 0 if self._arrays.block is not None else _Arrays.octets(self._arrays.sizes)

    @property
    def spilled_bytes(self) -> int:
        """Its bytes in a file."""
        return 0 if self._arrays.block is None else _Arrays.octets(self._arrays.sizes)

    @property
    def coldness(self) -> int:
        """Always 0, because it is the only table in its budget."""
        return 0

    @property
    def blocked(self) -> int:
        """How many viewers have a period."""
        return int((self._periods_of[:, 1] > self._periods_of[:, 0]).sum())

    def put(self, changed: Mapping[bytes, Sequence[Period]]) -> None:
        """Set the periods of these viewers."""
        names = np.frombuffer(b"".join(changed), np.uint8)
        ends = np.cumsum([0, *map(len, changed)])
        rows = [period for periods in changed.values() for period in periods]
        self._reserve(_Sizes(len(changed), len(names), len(rows)))
        arrays = self._arrays
        places, self._viewers = _place(arrays.slots, arrays.arena, arrays.name_at, self._viewers, names, ends)
        before = arrays.period_at[places]
        row_ends = self.rows + np.cumsum([0, *map(len, changed.values())])
        arrays.period_at[places, 0], arrays.period_at[places, 1] = row_ends[:-1], row_ends[1:]
        arrays.periods[self.rows : self.rows + len(rows)] = np.array(rows, np.int64).reshape(-1, 2)
        self.rows += len(rows)
        self.rows_in_use += len(rows) - int((before[:, 1] - before[:, 0]).sum())
        self.let_go()

    def table(self) -> BlockTable:
        """Return the table as it is now."""
        arrays, n = self._arrays, self._viewers
        return BlockTable(arrays.slots, arrays.arena, arrays.name_at[: n + 1], self._periods_of, arrays.periods)

    def anew(self) -> "Viewers":
        """Return a copy without the rows that no viewer has any more. This object must not be used afterwards."""
        found = Viewers(self._budget)
        found._reserve(_Sizes(self.blocked, int(self._arrays.name_at[self._viewers]), self.rows_in_use))
        mine, other = self.table(), found._arrays
        found._viewers, found.rows = _copy(
            mine.arena, mine.name_at, mine.period_at, mine.periods,
            other.arena, other.name_at, other.period_at, other.periods,
        )  # fmt: skip
        found.rows_in_use = found.rows
        _fill(other.slots, other.arena, other.name_at, found._viewers)
        found.let_go()
        if self._budget is not None:
            self._budget.forget(self)
        return found

    def to_file(self, budget: Budget) -> None:
        """Move the table to a file. It stays in memory when there is no room."""
        block = budget.block(_Arrays.octets(self._arrays.sizes))
        if block is not None:
            self._move(_Arrays(self._arrays.sizes, block))

    def let_go(self) -> None:
        """Release the pages of the file, if the table is in one."""
        if self._arrays.block is not None:
            self._arrays.block.let_go()

    @property
    def _periods_of(self) -> npt.NDArray[np.int64]:
        return self._arrays.period_at[: self._viewers]

    def _reserve(self, more: _Sizes) -> None:
        arrays = self._arrays
        octets = int(arrays.name_at[self._viewers]) + more.octets
        sizes = arrays.sizes.at_least(_Sizes(self._viewers + more.viewers, octets, self.rows + more.rows))
        if sizes == arrays.sizes:
            return
        block = None
        if arrays.block is not None and self._budget is not None:
            block = self._budget.block(_Arrays.octets(sizes))
        self._move(_Arrays(sizes, block))
        self._note()

    def _move(self, to: _Arrays) -> None:
        mine, octets = self._arrays, int(self._arrays.name_at[self._viewers])
        to.arena[:octets] = mine.arena[:octets]
        to.name_at[: self._viewers + 1] = mine.name_at[: self._viewers + 1]
        to.period_at[: self._viewers] = mine.period_at[: self._viewers]
        to.periods[: self.rows] = mine.periods[: self.rows]
        _fill(to.slots, to.arena, to.name_at, self._viewers)
        self._arrays = to
        self.let_go()

    def _note(self) -> None:
        if self._budget is not None:
            self._budget.changed(self)


NOBODY = Viewers().table()
