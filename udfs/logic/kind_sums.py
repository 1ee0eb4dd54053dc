"""Which kinds of many rows are the most frequent, with a bounded number of sums in memory."""

from collections.abc import Callable, Iterable

import numpy as np

from udfs.logic.cells import MinuteCells, get_uint, put_bytes, put_uint
from udfs.logic.hashing import quick_hash
from udfs.logic.key_table import Bytes
from udfs.logic.numba_compat import njit
from udfs.logic.ranking import KINDS_MAX

# Kinds that are summed at once.
KINDS_AT_ONCE = 1 << 16


@njit(cache=True)
def _of_kinds(rows, part, parts):  # type: ignore[no-untyped-def]
    """The rows of one part of the kinds, their videos left out."""
    found = np.empty(rows.shape[0], np.uint8)
    end = np.int64(0)
    at = np.int64(0)
    while at < rows.shape[0]:
        length = np.int64(rows[at])
        kind_len = np.int64(rows[at + 1])
        if parts == 1 or np.int64(quick_hash(rows, at + 2, kind_len) % np.uint64(parts)) == part:
            found[end] = 1 + kind_len
            end = put_bytes(found, end + 1, rows, at + 1, kind_len + 1)
            end = put_uint(found, end, get_uint(rows, at + 1 + length, 4), 4)
        at += length + 5
    return found[:end]


def most_frequent_kinds(rows: Callable[[], Iterable[Bytes]], parts: int) -> set[bytes] | None:
    """The KINDS_MAX kinds with the most events, equals by name; None: there are no more than that.

    `rows` gives all rows, without minute, each time it is called. Where kinds are too many to be summed at once, they
    are in this many parts.
    """
    best = _best_of_part(rows, 0, 1)
    if best is None:
        found = []
        for part in range(parts):
            found += _best_of_part(rows, part, parts, whole=True) or []
        best = found
    if len(best) <= KINDS_MAX:
        return None
    return {kind for _, kind in sorted(best)[:KINDS_MAX]}


def _best_of_part(
    rows: Callable[[], Iterable[Bytes]], part: int, parts: int, *, whole: bool = False
) -> list[tuple[int, bytes]] | None:
    """(-events, kind) of the first ones, and one more; None: too many, unless it is to be gone through whole."""
    sums = MinuteCells()
    for some in rows():
        sums.add(_of_kinds(some, part, parts))
        if not whole and len(sums) > KINDS_AT_ONCE:
            return None
    events = -sums.counts()
    # Equals at the cut by name as well.
    cut = np.partition(events, KINDS_MAX)[KINDS_MAX] if len(events) > KINDS_MAX + 1 else 0
    return sorted((int(events[cell]), sums.kind(cell)) for cell in np.nonzero(events <= cut)[0].tolist())[
        : KINDS_MAX + 1
    ]
