"""Whose views do not count, and when: by append time, so that a replay decides alike.

A period begins and ends at least a minute after it was written, and a list is read to its end before anything is
judged: whoever judges a view knows every period that can contain its append time, on the first run and on any later.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt

from udfs.logic.cells import put_bytes, same_bytes, slots_for
from udfs.logic.hashing import hash_bytes
from udfs.logic.key_table import Bytes
from udfs.logic.keyed_records import Keyed, Refusal, read_keyed, read_whole
from udfs.logic.numba_compat import leaf, njit

VIEWER_ID_BYTES_MAX = 64
PERIODS_MAX = 1000
FOR_GOOD_MS = 1 << 62
# Of BlockedViewer, with times as plain numbers.
_PERIODS = fastavro.parse_schema(
    {
        "type": "array",
        "items": {
            "type": "record",
            "name": "PeriodInMilliseconds",
            "fields": [
                {"name": "effective_from", "type": "long"},
                {"name": "effective_until", "type": ["null", "long"]},
            ],
        },
    }
)


class Period(NamedTuple):
    """Append times in ms, the end not included."""

    from_ms: int
    until_ms: int


class BlockTable(NamedTuple):
    """A block list as the kernel looks it up; `slots` of an open-addressing table point to viewers.

    Of viewer i the name is arena[name_at[i] : name_at[i + 1]], its periods are rows period_at[i, 0] to period_at[i, 1]
    of `periods` (int64[n, 2]). Holds until the list changes: a change is made in place.
    """

    slots: npt.NDArray[np.int32]
    arena: Bytes
    name_at: npt.NDArray[np.int64]
    period_at: npt.NDArray[np.int64]
    periods: npt.NDArray[np.int64]


def read_blocked(key: bytes | None, value: bytes | None) -> Keyed | Refusal:
    """Reads one record of the block list's topic: (viewer_id, periods). Never raises for what the bytes say."""
    found = read_keyed("BlockedViewer", key, value, VIEWER_ID_BYTES_MAX)
    if isinstance(found, Refusal) or found.rest is None:
        return found
    try:
        periods = read_periods(found.rest)
    # Whatever a decoder meets in bytes that are not what they say they are.
    except Exception:
        return Refusal.UNREADABLE
    if len(periods) > PERIODS_MAX:
        return Refusal.TOO_LONG
    if any(not 0 <= period.from_ms < FOR_GOOD_MS for period in periods):
        return Refusal.TIME_OUT_OF_RANGE
    if any(period.until_ms < period.from_ms for period in periods):
        return Refusal.PERIOD_ENDS_BEFORE_IT_BEGINS
    return found


def read_periods(rest: bytes) -> list[Period]:
    """The periods of a value's rest. Raises as `read_whole`."""
    found: list[dict[str, Any]] = read_whole(_PERIODS, rest)
    return [
        Period(one["effective_from"], FOR_GOOD_MS if one["effective_until"] is None else one["effective_until"])
        for one in found
    ]


@njit(cache=True)
def _fill(slots, arena, name_at, viewers):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for viewer in range(viewers):
        start = name_at[viewer]
        slot = hash_bytes(arena, start, name_at[viewer + 1] - start) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = viewer


@njit(cache=True)
def _place(slots, arena, name_at, viewers, names, ends):  # type: ignore[no-untyped-def]
    """(which viewer each name is, how many there are now); name i is names[ends[i] : ends[i + 1]]. New ones are added.

    There must be room for all.
    """
    mask = np.uint64(slots.shape[0] - 1)
    found = np.empty(ends.shape[0] - 1, np.int64)
    for i in range(found.shape[0]):
        at = ends[i]
        length = ends[i + 1] - at
        slot = hash_bytes(names, at, length) & mask
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
    """Whether the viewer buf[at : at + length] is blocked at this append time. The rest is a BlockTable."""
    if length <= 0:
        return False
    mask = np.uint64(slots.shape[0] - 1)
    slot = hash_bytes(buf, at, length) & mask
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


class _Table:
    """Takes changes of viewers: each costs what is changed, not what is there."""

    def __init__(self) -> None:
        self._slots = np.full(slots_for(0), -1, np.int32)
        self._arena = np.zeros(0, np.uint8)
        self._name_at = np.zeros(1, np.int64)
        self._period_at = np.zeros((0, 2), np.int64)
        self._periods = np.zeros((0, 2), np.int64)
        self._viewers = 0
        # Rows of periods in use, also those that no viewer has any more.
        self.rows = 0

    def put(self, changed: Mapping[bytes, Sequence[Period]]) -> None:
        """From now on these are the periods of these viewers."""
        names = np.frombuffer(b"".join(changed), np.uint8)
        ends = np.cumsum([0, *map(len, changed)])
        rows = [period for periods in changed.values() for period in periods]
        self._reserve(len(changed), len(names), len(rows))
        places, self._viewers = _place(self._slots, self._arena, self._name_at, self._viewers, names, ends)
        row_ends = self.rows + np.cumsum([0, *map(len, changed.values())])
        self._period_at[places, 0], self._period_at[places, 1] = row_ends[:-1], row_ends[1:]
        self._periods[self.rows : self.rows + len(rows)] = np.array(rows, np.int64).reshape(-1, 2)
        self.rows += len(rows)

    def table(self) -> BlockTable:
        """As it is now."""
        n = self._viewers
        return BlockTable(self._slots, self._arena, self._name_at[: n + 1], self._period_at[:n], self._periods)

    def _reserve(self, viewers: int, octets: int, rows: int) -> None:
        self._arena = _with_room(self._arena, int(self._name_at[self._viewers]) + octets)
        self._name_at = _with_room(self._name_at, self._viewers + viewers + 1)
        self._period_at = _with_room(self._period_at, self._viewers + viewers)
        self._periods = _with_room(self._periods, self.rows + rows)
        if slots_for(self._viewers + viewers) > len(self._slots):
            self._slots = np.full(slots_for(self._viewers + viewers), -1, np.int32)
            _fill(self._slots, self._arena, self._name_at, self._viewers)


def _with_room(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The array, or twice as much of one as is needed."""
    if size <= len(array):
        return array
    larger = np.zeros((2 * size, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


NOBODY = _Table().table()
# So many rows that no viewer has any more are always borne.
_ROWS_SPARE = 1024


class BlockList:
    """The list in the memory of one subtask. Not thread-safe."""

    def __init__(self) -> None:
        self._viewers: dict[bytes, list[Period]] = {}
        self._rows = 0
        self._changed: dict[bytes, list[Period]] = {}
        self._made = _Table()

    def put(self, viewer_id: bytes, rest: bytes | None) -> None:
        """From now on these are the periods of a viewer, as `read_blocked` gives them; None: there are none."""
        periods = [] if rest is None else read_periods(rest)
        before = self._viewers.pop(viewer_id, [])
        if periods:
            self._viewers[viewer_id] = periods
        if periods != before:
            self._rows += len(periods) - len(before)
            self._changed[viewer_id] = periods

    def __len__(self) -> int:
        return len(self._viewers)

    @property
    def table(self) -> BlockTable:
        """The list as it is now. A change costs some microseconds, however many viewers there are.

        Made anew when most of it is of no use any more: after as many changes as it has periods.
        """
        if self._changed:
            self._made.put(self._changed)
            self._changed = {}
            if self._made.rows > 2 * self._rows + _ROWS_SPARE:
                self._made = _Table()
                self._made.put(self._viewers)
        return self._made.table()
