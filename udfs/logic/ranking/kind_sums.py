"""Finds which kinds of many rows have lists (udfs.logic.ranking.lists), with a limited number of sums in memory."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from udfs.logic.kernels.hashing import quick_hash
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import njit
from udfs.logic.minutes.cells import MinuteCells, get_uint, put_bytes, put_uint
from udfs.logic.ranking.lists import Choice, KindEvents

# So many kinds are summed at once.
KINDS_AT_ONCE = 1 << 16


@njit(cache=True)
def _of_kinds(rows, part, parts):  # type: ignore[no-untyped-def]
    """Return the rows of one part of the kinds, without their videos."""
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


def chosen_kinds(rows: Callable[[], Iterable[Bytes]], parts: int, declared: Sequence[bytes]) -> Choice | None:
    """Return which kinds have lists, by the events of all rows, or None if all kinds have.

    `rows` gives all rows, without minute, each time it is called. If there are too many kinds to sum them at once, they
    are divided into `parts` parts, and each part is summed by itself.
    """
    summed = _sums(rows, 0, 1)
    if summed is not None:
        return _choice([summed], declared)
    return _choice((_sums(rows, part, parts, whole=True) for part in range(parts)), declared)


def _choice(parts: Iterable[MinuteCells | None], declared: Sequence[bytes]) -> Choice | None:
    """Choose among the kinds of all parts. Each kind is in one part only."""
    found = KindEvents(declared)
    for sums in parts:
        assert sums is not None
        found.add(sums, np.arange(len(sums)), sums.counts())
    return found.choice()


def _sums(rows: Callable[[], Iterable[Bytes]], part: int, parts: int, *, whole: bool = False) -> MinuteCells | None:
    """Return the events of each kind of a part. Unless `whole` is set, return None when there are too many kinds."""
    sums = MinuteCells()
    for some in rows():
        sums.add(_of_kinds(some, part, parts))
        if not whole and len(sums) > KINDS_AT_ONCE:
            return None
    return sums
