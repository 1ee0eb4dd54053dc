"""Limits how much memory the tables of one operator hold, and moves tables that exceed it to files.

A table in a file is the same array, mapped into memory, and the same kernels work on it: they are slower, and as exact.
Its pages belong to the file, so that the system can take them back, and they are released after each use. A file has no
name, so it disappears when the process ends in whatever way. Nobody needs it afterwards, because keyed state has all
that it held.
"""

import logging
import mmap
import os
import tempfile
from bisect import insort
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
log = logging.getLogger(__name__)

# After the folder had no room, so many requests are skipped before the next attempt.
REQUESTS_WITHOUT_ROOM = 1000


def aligned(octets: int) -> int:
    """Return the number of bytes rounded up to a multiple of 64, where the next array of a block may begin."""
    return -(-octets // 64) * 64


class FileBlock:
    """A file of zeros, mapped into memory.

    Raises OSError when the folder has no room. It allocates all space at once, because the process would be killed by
    the first write to a page for which there is no space.
    """

    def __init__(self, octets: int, folder: str) -> None:
        self.octets = -(-max(octets, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, self.octets)
            self._map = mmap.mmap(file.fileno(), self.octets)

    def array(self, at: int, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the array of this shape and type that begins at byte `at` of the block."""
        return np.frombuffer(self._map, kind, int(np.prod(shape)), at).reshape(shape)

    def let_go(self) -> None:
        """Release all of its pages. Their content stays in the file."""
        self._map.madvise(mmap.MADV_DONTNEED)


class SpillFile:
    """Stretches of bytes in one file, read and written by their places. Free places are used again."""

    def __init__(self, folder: str) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long as this
        self._end = 0
        # (place, length) of each free stretch before the end, ordered by place.
        self._free: list[tuple[int, int]] = []

    def put(self, octets: npt.NDArray[np.uint8]) -> int:
        """Write these bytes and return their place. Raises OSError when there is no room."""
        wanted = len(octets)
        hole = next((one for one in self._free if one[1] >= wanted), None)
        place = self._end if hole is None else hole[0]
        rest, at = octets.data, place
        while rest:
            written = os.pwrite(self._file.fileno(), rest, at)
            rest, at = rest[written:], at + written
        if hole is None:
            self._end += wanted
        else:
            self._free.remove(hole)
            if hole[1] > wanted:
                insort(self._free, (place + wanted, hole[1] - wanted))
        return place

    def get(self, place: int, length: int) -> npt.NDArray[np.uint8]:
        """Read so many bytes at a place."""
        found = np.empty(length, np.uint8)
        into, at = found.data, place
        while into:
            read = os.preadv(self._file.fileno(), [into], at)
            if not read:
                raise EOFError(f"the file of spilled tables ends at byte {at}, before {place + length}")
            into, at = into[read:], at + read
        return found

    def free(self, place: int, length: int) -> None:
        """Make the stretch free. Its bytes may be overwritten from now on."""
        insort(self._free, (place, length))
        joined: list[tuple[int, int]] = []
        for start, size in self._free:
            if joined and sum(joined[-1]) == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((start, size))
        if joined and sum(joined[-1]) == self._end:
            self._end = joined.pop()[0]
            os.ftruncate(self._file.fileno(), self._end)
        self._free = joined


class Table(Protocol):
    """A table that can be moved to a file."""

    @property
    def held_bytes(self) -> int:
        """Its bytes in memory."""

    @property
    def spilled_bytes(self) -> int:
        """Its bytes in files."""

    @property
    def coldness(self) -> int:
        """A number by which tables are moved: the table with the highest one goes to a file first."""

    def to_file(self, budget: "Budget") -> None:
        """Move it to a file. It stays in memory when there is no room."""


class Budget:
    """The memory budget for the tables of one subtask of an operator. Not thread-safe.

    Whether a table is in a file only decides how fast it is. When the folder has no room, tables stay in memory and
    exceed the budget. `held_bytes` shows this and a warning is logged. The worker does not fail, because it would find
    no more room after a restart.
    """

    def __init__(self, most_bytes: int, folder: str) -> None:
        self.most_bytes = most_bytes
        self._folder = folder
        self._tables: dict[int, Table] = {}
        self._held = 0
        self._held_by: dict[int, int] = {}
        self._requests_to_skip = 0
        self._file: SpillFile | None = None

    @property
    def held_bytes(self) -> int:
        """The tables' bytes in memory."""
        return self._held

    @property
    def spilled_bytes(self) -> int:
        """The tables' bytes in files."""
        return sum(table.spilled_bytes for table in self._tables.values())

    def block(self, octets: int) -> FileBlock | None:
        """Return a new block of so many bytes, all 0, or None when there is no room."""
        return self._if_room(octets, lambda: FileBlock(octets, self._folder))

    def put(self, octets: npt.NDArray[np.uint8]) -> int | None:
        """Write these bytes to `file` and return their place, or None when there is no room."""
        return self._if_room(len(octets), lambda: self.file.put(octets))

    @property
    def file(self) -> SpillFile:
        """The file that holds all stretches. Raises OSError when it cannot be made."""
        if self._file is None:
            self._file = SpillFile(self._folder)
        return self._file

    def changed(self, table: Table) -> None:
        """Note a table that is new or whose size has changed.

        If the budget is exceeded, the coldest tables are moved to files until it is not.
        """
        self._tables[id(table)] = table
        self._note(table)
        if self._held > self.most_bytes:
            self._make_room()

    def forget(self, table: Table) -> None:
        """Leave the table out from now on: it is used no more."""
        self._held -= self._held_by.pop(id(table), 0)
        self._tables.pop(id(table), None)

    def _if_room(self, octets: int, make: Callable[[], T]) -> T | None:
        if self._requests_to_skip:
            self._requests_to_skip -= 1
            return None
        try:
            return make()
        except OSError as error:
            self._requests_to_skip = REQUESTS_WITHOUT_ROOM
            log.warning(
                "cannot make a file of %d bytes in %s (%s): tables hold %d bytes in memory, the budget is %d; "
                "make room in this folder, or set VIEW_COUNTS_JOB_SPILL_FOLDER to a folder that has room",
                octets, self._folder, error, self._held, self.most_bytes,
            )  # fmt: skip
            return None

    def _make_room(self) -> None:
        if self._requests_to_skip:
            self._requests_to_skip -= 1
            return
        in_memory = [table for table in self._tables.values() if table.held_bytes]
        for table in sorted(in_memory, key=lambda one: (one.coldness, one.held_bytes), reverse=True):
            if self._held <= self.most_bytes or self._requests_to_skip:
                return
            table.to_file(self)
            self._note(table)

    def _note(self, table: Table) -> None:
        held = table.held_bytes
        self._held += held - self._held_by.get(id(table), 0)
        self._held_by[id(table)] = held
