"""Whose views do not count, and when: by append time, so that a replay decides alike.

A period begins and ends at least a minute after it was written, and a list is read to its end before anything is
judged: whoever judges a view knows every period that can contain its append time, on the first run and on any later.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt

from udfs.logic.cells import same_bytes, slots_for
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

    Of viewer i the name is arena[name_at[i] : name_at[i + 1]], its periods are rows period_at[i] to period_at[i + 1] of
    `periods` (int64[n, 2]).
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
def _fill(slots, arena, name_at):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for viewer in range(name_at.shape[0] - 1):
        start = name_at[viewer]
        slot = hash_bytes(arena, start, name_at[viewer + 1] - start) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = viewer


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
            for i in range(period_at[viewer], period_at[viewer + 1]):  # noqa: SIM110 - Numba compiles no generator
                if periods[i, 0] <= append < periods[i, 1]:
                    return True
            return False
        slot = (slot + np.uint64(1)) & mask
    return False


def _table(viewers: Mapping[bytes, Sequence[Period]]) -> BlockTable:
    slots = np.full(slots_for(len(viewers)), -1, np.int32)
    arena = np.frombuffer(b"".join(viewers), np.uint8)
    name_at = np.zeros(len(viewers) + 1, np.int64)
    np.cumsum([len(name) for name in viewers], out=name_at[1:])
    period_at = np.zeros(len(viewers) + 1, np.int64)
    np.cumsum([len(periods) for periods in viewers.values()], out=period_at[1:])
    rows = [period for periods in viewers.values() for period in periods]
    _fill(slots, arena, name_at)
    return BlockTable(slots, arena, name_at, period_at, np.array(rows, np.int64).reshape(-1, 2))


NOBODY = _table({})


class BlockList:
    """The list in the memory of one subtask. Not thread-safe."""

    def __init__(self) -> None:
        self._viewers: dict[bytes, list[Period]] = {}
        self._made: BlockTable | None = NOBODY

    def put(self, viewer_id: bytes, rest: bytes | None) -> None:
        """From now on these are the periods of a viewer, as `read_blocked` gives them; None: there are none."""
        periods = [] if rest is None else read_periods(rest)
        if periods:
            self._viewers[viewer_id] = periods
            self._made = None
        elif self._viewers.pop(viewer_id, None) is not None:
            self._made = None

    def __len__(self) -> int:
        return len(self._viewers)

    @property
    def table(self) -> BlockTable:
        """The list as it is now. Made anew after a change, in about a microsecond a viewer."""
        if self._made is None:
            self._made = _table(self._viewers)
        return self._made
