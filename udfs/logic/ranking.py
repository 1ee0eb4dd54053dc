"""The most viewed videos of a span of minutes within one shard, and those that grew most against the span before.

A video lives in one shard, so the lists of all shards, merged, are exact.
"""

import heapq
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from udfs.logic.cells import MinuteCells, first_of_kinds
from udfs.logic.key_table import Bytes
from udfs.logic.numba_compat import njit

TOP = 100
# Clients name kinds as they like. Of more than this only the most frequent are ranked, so that nobody can make the job
# write millions of lists.
KINDS_MAX = 64


class Ranked(NamedTuple):
    """One video of a list."""

    video_id: bytes
    views: int
    # In the span before, as long; 0 where nothing is compared.
    views_before: int


Lists = dict[bytes, list[Ranked]]


def most_viewed(cells: MinuteCells) -> Lists:
    """By kind: the TOP videos by views, most first."""
    views = cells.counts()
    return _by_kind(cells, views, views, np.zeros_like(views))


def most_viewed_and_growing(
    span: Iterable[Bytes],
    before: Iterable[Bytes],
    kinds: Collection[bytes] | None = None,
    kinds_of_both: Collection[bytes] | None = None,
) -> tuple[Lists, Lists]:
    """As `most_viewed`, of rows; and by kind the TOP videos by growth against the span before, where above 0.

    Kinds, if given, are those to be ranked in the one and in the other.
    """
    cells = summed(span)
    counted = cells.counts()
    most = _by_kind(cells, counted, counted, np.zeros_like(counted), kinds)
    for rows in before:
        cells.add(rows)
    views = np.zeros(len(cells), np.int64)
    views[: len(counted)] = counted
    views_before = cells.counts() - views
    return most, _by_kind(cells, views - views_before, views, views_before, kinds_of_both)


def summed(span: Iterable[Bytes]) -> MinuteCells:
    """The cells of rows without minute."""
    cells = MinuteCells()
    for rows in span:
        cells.add(rows)
    return cells


def _by_kind(
    cells: MinuteCells,
    scores: npt.NDArray[np.int64],
    views: npt.NDArray[np.int64],
    views_before: npt.NDArray[np.int64],
    kinds: Collection[bytes] | None = None,
) -> Lists:
    """Every kind among the cells has a list, if an empty one; of too many kinds, the most frequent, equals by name."""
    kind_of = first_of_kinds(*cells.keys())
    firsts = np.nonzero(kind_of == np.arange(len(kind_of)))[0]
    if kinds is not None:
        firsts = np.array([first for first in firsts.tolist() if cells.kind(first) in kinds], np.int64)
    elif len(firsts) > KINDS_MAX:
        events = np.bincount(kind_of, weights=views + views_before)[firsts]
        # Cells come in another order after a restore.
        likely = firsts[events >= np.partition(events, -KINDS_MAX)[-KINDS_MAX]]
        events_of = dict(zip(firsts.tolist(), events.tolist(), strict=True))
        order = sorted(likely.tolist(), key=lambda first: (-events_of[first], cells.kind(first)))
        firsts = np.array(order[:KINDS_MAX], np.int64)
    found = {}
    for first, best in zip(firsts.tolist(), _best(kind_of, scores, firsts, TOP), strict=True):
        of_kind = np.array([cell for score, cell in best if score > 0], np.int64)
        found_views, found_before = views[of_kind].tolist(), views_before[of_kind].tolist()
        videos = [*map(Ranked, cells.videos(of_kind), found_views, found_before)]
        # Equal ones by name, so that a list looks alike whenever it is made.
        order = sorted(zip((-scores[of_kind]).tolist(), videos, strict=True), key=lambda one: (one[0], one[1].video_id))
        found[cells.kind(first)] = [ranked for _, ranked in order]
    return found


@njit(cache=True)
def _best(kind_of, scores, firsts, most):  # type: ignore[no-untyped-def]
    """For each of these kinds (score, cell) of those with the highest scores, in no order; scores of 0 fill up.

    One pass with a heap for each kind, its lowest score on top: nearly all cells end at the look at that one.
    """
    heaps = [[(np.int64(0), np.int64(-1)) for _ in range(most)] for _ in range(firsts.shape[0])]
    heap_of = np.full(kind_of.shape[0], -1, np.int64)
    for i in range(firsts.shape[0]):
        heap_of[firsts[i]] = i
    for cell in range(kind_of.shape[0]):
        which = heap_of[kind_of[cell]]
        if which >= 0 and scores[cell] > heaps[which][0][0]:
            heapq.heapreplace(heaps[which], (scores[cell], np.int64(cell)))
    return heaps
