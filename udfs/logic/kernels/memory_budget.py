"""What the tables of one operator may hold in memory, and files for what is beyond.

A table in a file is the same array, mapped, under the same kernels: slower, and as exact. Its pages belong to the file,
so that the system can take them back, and they are let go of after each use. A file has no name: it ends with the
process, however that ends, and nothing reads it afterwards, since all that lies in one is in keyed state too.
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

# After the folder had no room, so many requests go by before it is asked again.
REQUESTS_WITHOUT_ROOM = 1000


def aligned(octets: int) -> int:
    """So many bytes, or the few more after which the next array of a block may begin."""
    return -(-octets // 64) * 64


class FileBlock:
    """Zeros in a file, mapped. OSError when the folder has no room for them: a page that finds none would be fatal."""

    def __init__(self, octets: int, folder: str) -> None:
        self.octets = -(-max(octets, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, self.octets)
            self._map = mmap.mmap(file.fileno(), self.octets)

    def array(self, at: int, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """The array of this shape at a place in it."""
        return np.frombuffer(self._map, kind, int(np.prod(shape)), at).reshape(shape)

    def let_go(self) -> None:
        """Hold none of its pages any more. They are as they were when they are next used."""
        self._map.madvise(mmap.MADV_DONTNEED)


class SpillFile:
    """Stretches of bytes in one file, read and written by their places; what is free is used again."""

    def __init__(self, folder: str) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long as this
        self._end = 0
        # (place, length) of what is free before the end, by place.
        self._free: list[tuple[int, int]] = []

    def put(self, octets: npt.NDArray[np.uint8]) -> int:
        """The place at which these are from now on. OSError when there is no room."""
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
        """So many bytes at a place."""
        found = np.empty(length, np.uint8)
        into, at = found.data, place
        while into:
            read = os.preadv(self._file.fileno(), [into], at)
            if not read:
                raise EOFError(f"a file of what is beyond the memory budget ends at {at}, before {place + length}")
            into, at = into[read:], at + read
        return found

    def free(self, place: int, length: int) -> None:
        """Nothing is there any more."""
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
    """What can go to a file."""

    @property
    def held_bytes(self) -> int:
        """In memory."""

    @property
    def spilled_bytes(self) -> int:
        """In files."""

    @property
    def coldness(self) -> int:
        """The higher, the sooner it goes."""

    def to_file(self, budget: "Budget") -> None:
        """Go to a file; or stay, when there is no room."""


class Budget:
    """Of the tables of one operator's subtask. Not thread-safe.

    Which tables are in files decides nothing but the time that they take. When the folder has no room tables stay in
    memory, beyond the budget, which `held_bytes` shows and the log says: a worker that ends because of it could be no
    better off when it comes back.
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
        """In memory."""
        return self._held

    @property
    def spilled_bytes(self) -> int:
        """In files."""
        return sum(table.spilled_bytes for table in self._tables.values())

    def block(self, octets: int) -> FileBlock | None:
        """A block of so many bytes, all 0; None when there is no room."""
        return self._if_room(octets, lambda: FileBlock(octets, self._folder))

    def put(self, octets: npt.NDArray[np.uint8]) -> int | None:
        """The place of these bytes in `file`; None when there is no room."""
        return self._if_room(len(octets), lambda: self.file.put(octets))

    @property
    def file(self) -> SpillFile:
        """One for all stretches. OSError when it cannot be made."""
        if self._file is None:
            self._file = SpillFile(self._folder)
        return self._file

    def changed(self, table: Table) -> None:
        """The table is new, or of another size: what is coldest goes, until all is within the budget."""
        self._tables[id(table)] = table
        self._note(table)
        if self._held > self.most_bytes:
            self._make_room()

    def forget(self, table: Table) -> None:
        """The table is no more."""
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
                "no file of %d bytes in %s (%s): %d bytes stay in memory, of a budget of %d; make room there, or set "
                "VIEW_COUNTS_JOB_SPILL_FOLDER to a folder that has it",
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
