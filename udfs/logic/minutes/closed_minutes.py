"""The counts of one closed minute in one shard: rows that do not change any more and are kept for top lists.

They lie in memory or in a file; in state they are one chunk. They are sorted into buckets by video, so that the cells
of many minutes can be summed for some videos at a time (udfs.logic.ranking.hour_ranking).
"""

import numpy as np

from udfs.logic.kernels.hashing import quick_hash
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.kernels.numba_compat import njit
from udfs.logic.minutes.cells import get_uint, split_key

BUCKETS = 64
_SHIFT = np.uint64(64 - 6)
# Higher than the coldness of any open minute.
_COLD = 1 << 40


@njit(cache=True)
def _sort(rows):  # type: ignore[no-untyped-def]
    """Return (rows sorted by bucket, where each bucket begins and the last one ends, number of cells, events)."""
    starts = np.zeros(BUCKETS + 1, np.int64)
    cells = np.int64(0)
    events = np.int64(0)
    at = np.int64(0)
    while at < rows.shape[0]:
        length = np.int64(rows[at])
        _, _, video, video_len = split_key(rows, at + 1, length)
        bucket = np.int64(quick_hash(rows, video, video_len) >> _SHIFT)
        starts[bucket + 1] += length + 5
        events += get_uint(rows, at + 1 + length, 4)
        cells += 1
        at += length + 5
    for i in range(BUCKETS):
        starts[i + 1] += starts[i]
    places = starts[:-1].copy()
    found = np.empty(rows.shape[0], np.uint8)
    at = np.int64(0)
    while at < rows.shape[0]:
        length = np.int64(rows[at])
        _, _, video, video_len = split_key(rows, at + 1, length)
        bucket = np.int64(quick_hash(rows, video, video_len) >> _SHIFT)
        for i in range(length + 5):
            found[places[bucket] + i] = rows[at + i]
        places[bucket] += length + 5
        at += length + 5
    return found, starts, cells, events


class ClosedMinute:
    """A closed minute of `cells` cells and `events` events.

    Its rows are rows of cells.py without minute, one for each cell.
    """

    def __init__(self, rows: Bytes, budget: Budget | None, minute: int) -> None:
        self._rows: Bytes | None
        self._rows, self._starts, cells, events = _sort(rows)
        self._place = 0
        self.cells, self.events = int(cells), int(events)
        self._budget = budget
        self._minute = minute
        if budget is not None:
            budget.changed(self)

    @property
    def held_bytes(self) -> int:
        """Its bytes in memory."""
        return 0 if self._rows is None else len(self._rows)

    @property
    def spilled_bytes(self) -> int:
        """Its bytes in a file."""
        return self._octets if self._rows is None else 0

    @property
    def coldness(self) -> int:
        """Higher than that of any open minute, and higher for an earlier minute."""
        return _COLD - self._minute

    def to_file(self, budget: Budget) -> None:
        """Move the rows to a file. They stay in memory when there is no room."""
        if self._rows is not None:
            place = budget.put(self._rows)
            if place is not None:
                self._rows, self._place = None, place

    def rows(self, first: int = 0, last: int = BUCKETS) -> Bytes:
        """Return the rows of the buckets `first` to `last - 1`."""
        start, end = int(self._starts[first]), int(self._starts[last])
        if self._rows is not None:
            return self._rows[start:end]
        assert self._budget is not None
        return self._budget.file.get(self._place + start, end - start)

    def forget(self) -> None:
        """Free its memory or its place in the file: it is used no more."""
        if self._budget is None:
            return
        if self._rows is None:
            self._budget.file.free(self._place, self._octets)
        self._budget.forget(self)

    @property
    def _octets(self) -> int:
        return int(self._starts[-1])
