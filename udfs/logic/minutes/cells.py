"""Counts of cells, and rows, which are their packed form. A cell is a kind of a video in a minute.

A key is [kind length, 1 byte][kind][video_id]. A row is [key length, 1 byte][key][count, 4 bytes little-endian].
A dated row has [minute, 8 bytes little-endian] between key and count, so that rows of several minutes can be together.
"""

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from settings.durations import MINUTES_PER_DAY
from udfs.logic.kernels.hashing import hash_bytes, mix64, quick_hash
from udfs.logic.kernels.key_table import Bytes, KeyTable, grown, key_slot
from udfs.logic.kernels.memory_budget import Budget, FileBlock, aligned
from udfs.logic.kernels.numba_compat import leaf, njit

ROW_BYTES_MIN = 1 + 2 + 4
DATED_ROW_BYTES_MIN = ROW_BYTES_MIN + 8
_DATED = struct.Struct("<qI")


@leaf()
def put_uint(out, at, value, length):  # type: ignore[no-untyped-def]
    """Write the low bytes of value, little-endian, and return the place after them."""
    for i in range(length):
        out[at + i] = (value >> (8 * i)) & 255
    return at + length


@leaf()
def put_bytes(out, at, buf, start, length):  # type: ignore[no-untyped-def]
    """Write buf[start : start + length] and return the place after it."""
    for i in range(length):
        out[at + i] = buf[start + i]
    return at + length


@leaf()
def get_uint(buf, at, length):  # type: ignore[no-untyped-def]
    """Read a little-endian number. Eight bytes are read as int64."""
    value = np.int64(0)
    for i in range(length):
        value |= np.int64(buf[at + i]) << (8 * i)
    return value


@leaf()
def same_bytes(a, a_at, b, b_at, length):  # type: ignore[no-untyped-def]
    """Return whether two stretches of bytes are equal."""
    for i in range(length):  # noqa: SIM110 - Numba compiles no generator expression
        if a[a_at + i] != b[b_at + i]:
            return False
    return True


@leaf()
def slots_for(n):  # type: ignore[no-untyped-def]
    """Return how many slots an open-addressing table of n entries has: a power of two, at most half of them used."""
    size = 16
    while size < 2 * n:
        size *= 2
    return size


@leaf()
def read_dated_row(buf, at):  # type: ignore[no-untyped-def]
    """Return (the key's place, its length, minute, count, the place after the row) of the dated row at `at`."""
    length = np.int64(buf[at])
    key = at + 1
    end = key + length
    return key, length, get_uint(buf, end, 8), get_uint(buf, end + 8, 4), end + 12


@leaf()
def split_key(buf, key, length):  # type: ignore[no-untyped-def]
    """Return (the kind's place, its length, the video's place, its length) of a key."""
    kind_len = np.int64(buf[key])
    return key + 1, kind_len, key + 1 + kind_len, length - 1 - kind_len


@leaf()
def partition_hash(buf, key, length, minute):  # type: ignore[no-untyped-def]
    """Return a hash of the partition of views_by_minute that a cell lies in: video, kind and day."""
    return hash_bytes(buf, key, length) ^ mix64(np.uint64(minute // MINUTES_PER_DAY))


@njit(cache=True)
def merge_dated_rows(buf, shards):  # type: ignore[no-untyped-def]
    """Sum dated rows by cell. Return (key places, key lengths, minutes, counts, shards), an entry for each cell."""
    capacity = buf.shape[0] // DATED_ROW_BYTES_MIN + 1
    slots = np.full(slots_for(capacity), -1, np.int32)
    mask = np.uint64(slots.shape[0] - 1)
    key_at = np.empty(capacity, np.int64)
    key_len = np.empty(capacity, np.int64)
    minutes = np.empty(capacity, np.int64)
    counts = np.empty(capacity, np.int64)
    shard = np.empty(capacity, np.int64)
    n = 0
    at = np.int64(0)
    while at < buf.shape[0]:
        key, length, minute, count, at = read_dated_row(buf, at)
        slot = (quick_hash(buf, key, length) ^ mix64(np.uint64(minute))) & mask
        while True:
            cell = slots[slot]
            if cell < 0:
                slots[slot] = n
                key_at[n] = key
                key_len[n] = length
                minutes[n] = minute
                counts[n] = count
                # Only the video decides the shard, so that one shard counts all kinds of a video.
                video = key + 1 + np.int64(buf[key])
                shard[n] = np.int64(hash_bytes(buf, video, key + length - video) % np.uint64(shards))
                n += 1
                break
            if minutes[cell] == minute and key_len[cell] == length and same_bytes(buf, key_at[cell], buf, key, length):
                counts[cell] += count
                break
            slot = (slot + np.uint64(1)) & mask
    return key_at[:n], key_len[:n], minutes[:n], counts[:n], shard[:n]


@njit(cache=True)
def pack_rows(buf, key_at, key_len, counts, chosen):  # type: ignore[no-untyped-def]
    """Return the chosen cells as rows without minute."""
    size = 0
    for i in chosen:
        size += key_len[i] + 5
    out = np.empty(size, np.uint8)
    at = 0
    for i in chosen:
        out[at] = key_len[i]
        at += 1
        at = put_bytes(out, at, buf, key_at[i], key_len[i])
        at = put_uint(out, at, counts[i], 4)
    return out


@njit(cache=True)
def pack_dated_rows(buf, key_at, key_len, counts, chosen, minute):  # type: ignore[no-untyped-def]
    """Return the chosen cells, all of one minute, as dated rows."""
    size = 0
    for i in chosen:
        size += key_len[i] + 13
    out = np.empty(size, np.uint8)
    at = 0
    for i in chosen:
        out[at] = key_len[i]
        at += 1
        at = put_bytes(out, at, buf, key_at[i], key_len[i])
        at = put_uint(out, at, minute, 8)
        at = put_uint(out, at, counts[i], 4)
    return out


class Cell(NamedTuple):
    """A decoded dated row. The names are UTF-8. Cells of one partition of views_by_minute sort together."""

    video_id: bytes
    kind: bytes
    minute: int
    views: int


def dated_row(cell: Cell) -> bytes:
    """Return the dated row of a cell."""
    key = bytes([len(cell.kind)]) + cell.kind + cell.video_id
    return bytes([len(key)]) + key + _DATED.pack(cell.minute, cell.views)


def unpack_dated_rows(rows: bytes) -> list[Cell]:
    """Decode all dated rows, in their order."""
    found = []
    at = 0
    while at < len(rows):
        kind_at = at + 2
        video_at = kind_at + rows[at + 1]
        end = at + 1 + rows[at]
        minute, count = _DATED.unpack_from(rows, end)
        found.append(Cell(rows[video_at:end], rows[kind_at:video_at], minute, count))
        at = end + _DATED.size
    return found


@njit(cache=True)
def _merge_rows(buf, slots, arena, arena_used, key_at, key_len, counts, dirty, n):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    at = np.int64(0)
    while at < buf.shape[0]:
        length = np.int64(buf[at])
        key = at + 1
        count = get_uint(buf, key + length, 4)
        at = key + length + 4
        slot = key_slot(buf, key, length, mask)
        while True:
            cell = slots[slot]
            if cell < 0:
                slots[slot] = n
                key_at[n] = arena_used
                key_len[n] = length
                counts[n] = count
                dirty[n] = 1
                arena_used = put_bytes(arena, arena_used, buf, key, length)
                n += 1
                break
            if key_len[cell] == length and same_bytes(arena, key_at[cell], buf, key, length):
                counts[cell] += count
                dirty[cell] = 1
                break
            slot = (slot + np.uint64(1)) & mask
    return arena_used, n


@njit(cache=True)
def first_of_kinds(arena, key_at):  # type: ignore[no-untyped-def]
    """Return, for each key, the index of the first key of the same kind."""
    n = key_at.shape[0]
    slots = np.full(slots_for(n), -1, np.int32)
    mask = np.uint64(slots.shape[0] - 1)
    found = np.empty(n, np.int64)
    for i in range(n):
        kind_len = np.int64(arena[key_at[i]])
        # Most keys have the kind of the key before.
        if i > 0 and same_bytes(arena, key_at[i - 1], arena, key_at[i], kind_len + 1):
            found[i] = found[i - 1]
            continue
        slot = quick_hash(arena, key_at[i], kind_len + 1) & mask
        while True:
            first = slots[slot]
            if first < 0:
                slots[slot] = i
                found[i] = i
                break
            # The comparison includes the length byte, so that a kind does not match a longer one that begins with it.
            if same_bytes(arena, key_at[first], arena, key_at[i], kind_len + 1):
                found[i] = first
                break
            slot = (slot + np.uint64(1)) & mask
    return found


class MinuteCells:
    """The counts of one open minute in one shard, and which of them have changed since they were last taken.

    With a budget, the arrays may be moved to a file, those of earlier minutes first. Code that has read `keys` or
    `counts` then calls `let_go`.
    """

    def __init__(self, budget: Budget | None = None, minute: int = 0) -> None:
        self._keys = KeyTable()
        self._counts = np.zeros(0, np.int64)
        self._dirty = np.zeros(0, np.uint8)
        self._budget = budget
        self._minute = minute
        self._block: FileBlock | None = None

    @property
    def held_bytes(self) -> int:
        """Its bytes in memory."""
        return self._octets if self._block is None else 0

    @property
    def spilled_bytes(self) -> int:
        """Its bytes in a file."""
        return 0 if self._block is None else self._block.octets

    @property
    def coldness(self) -> int:
        """Higher for an earlier minute."""
        return -self._minute

    def let_go(self) -> None:
        """Release the pages of the file, if the arrays are in one."""
        if self._block is not None:
            self._block.let_go()

    def forget(self) -> None:
        """Take the minute out of the budget: it is used no more."""
        if self._budget is not None:
            self._budget.forget(self)

    def to_file(self, budget: Budget) -> None:
        """Move the arrays to a file. They stay in memory when there is no room."""
        self._lay_out(budget, len(self._keys.at), len(self._keys.arena))

    def add(self, rows: Bytes) -> None:
        """Add rows without minute, and mark their cells as changed."""
        keys = self._keys
        if self._block is not None and not keys.has_room(len(rows) // ROW_BYTES_MIN + 1, len(rows)):
            assert self._budget is not None
            self._lay_out(
                self._budget, 1 << (keys.n + len(rows) // ROW_BYTES_MIN + 1).bit_length(),
                2 * (keys.arena_used + len(rows)),
            )  # fmt: skip
        before = self._octets
        size = keys.reserve(len(rows) // ROW_BYTES_MIN + 1, len(rows))
        if size > len(self._counts):
            self._counts, self._dirty = grown(self._counts, size), grown(self._dirty, size)
        keys.arena_used, keys.n = _merge_rows(
            rows, keys.slots, keys.arena, keys.arena_used, keys.at, keys.length, self._counts, self._dirty, keys.n
        )
        self.let_go()
        if self._budget is not None and self._octets != before:
            self._budget.changed(self)

    def __len__(self) -> int:
        return self._keys.n

    @property
    def events(self) -> int:
        """The sum of the counts."""
        return int(self.counts().sum())

    def keys(self) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """Return (the bytes that hold the keys, where each key begins)."""
        return self._keys.keys()[:2]

    def kind(self, cell: int) -> bytes:
        """Return the kind of a cell."""
        arena, key_at = self.keys()
        at = int(key_at[cell])
        return arena[at + 1 : at + 1 + int(arena[at])].tobytes()

    def videos(self, cells: npt.NDArray[np.int64]) -> list[bytes]:
        """Return the video of each of these cells."""
        arena, key_at, key_len = self._keys.keys()
        keys_at = key_at[cells]
        starts = (keys_at + 1 + arena[keys_at]).tolist()
        ends = (keys_at + key_len[cells]).tolist()
        return [arena[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]

    def counts(self) -> npt.NDArray[np.int64]:
        """Return a copy of the counts, by cell."""
        return self._counts[: len(self)].copy()

    def rows(self) -> Bytes:
        """Return every cell as a row without minute."""
        found: Bytes = pack_rows(*self._keys.keys(), self._counts, np.arange(len(self)))
        self.let_go()
        return found

    def take_changed(self, minute: int, rows_max: int) -> list[tuple[int, Bytes]]:
        """Return the absolute counts of the cells that have changed since the last call.

        Each item is (number of rows, dated rows) and has at most `rows_max` rows.
        """
        changed = np.nonzero(self._dirty[: len(self)])[0]
        self._dirty[: len(self)] = 0
        cuts = [changed[at : at + rows_max] for at in range(0, len(changed), rows_max)]
        found = [(len(some), pack_dated_rows(*self._keys.keys(), self._counts, some, minute)) for some in cuts]
        self.let_go()
        return found

    @property
    def _octets(self) -> int:
        keys = self._keys
        return sum(array.nbytes for array in (keys.slots, keys.arena, keys.at, keys.length, self._counts, self._dirty))

    def _lay_out(self, budget: Budget, size: int, arena_size: int) -> None:
        """Move all arrays to a new file that can hold `size` keys in `arena_size` bytes, if there is room for it."""
        sizes = (arena_size, *[8 * size] * 3, size, 4 * 2 * size)
        places = [0]
        for octets in sizes:
            places.append(places[-1] + aligned(octets))
        block = budget.block(places[-1])
        if block is None:
            # There is no room: from now on the arrays grow in memory, and all of them count as held.
            self._block = None
            return
        keys, n = self._keys, self._keys.n
        arena = block.array(places[0], (arena_size,), np.uint8)
        at, length, counts = (block.array(place, (size,), np.int64) for place in places[1:4])
        dirty = block.array(places[4], (size,), np.uint8)
        arena[: keys.arena_used] = keys.arena[: keys.arena_used]
        for larger, old in ((at, keys.at), (length, keys.length), (counts, self._counts), (dirty, self._dirty)):
            larger[: min(n, len(old))] = old[:n]
        keys.arena, keys.at, keys.length, keys.slots = arena, at, length, block.array(places[5], (2 * size,), np.int32)
        keys.fill_slots()
        self._counts, self._dirty = counts, dirty
        self.let_go()
        self._block = block
        self.let_go()
