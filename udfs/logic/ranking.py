"""The most viewed videos of a span of minutes within one shard, and those that grew most against the span before.

A video lives in one shard, so the lists of all shards, merged, are exact.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from udfs.logic.cells import Bytes, MinuteCells, first_of_kinds

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


def most_viewed(cells: MinuteCells) -> dict[bytes, list[Ranked]]:
    """By kind: the TOP videos by views, most first."""
    views = cells.counts()
    return _by_kind(cells, views, views, np.zeros_like(views))


def most_viewed_and_growing(
    span: Iterable[Bytes], before: Iterable[Bytes]
) -> tuple[dict[bytes, list[Ranked]], dict[bytes, list[Ranked]]]:
    """As `most_viewed`, of rows; and by kind the TOP videos by growth against the span before, where above 0."""
    cells = summed(span)
    counted = cells.counts()
    most = _by_kind(cells, counted, counted, np.zeros_like(counted))
    for rows in before:
        cells.add(rows)
    views = np.zeros(len(cells), np.int64)
    views[: len(counted)] = counted
    views_before = cells.counts() - views
    return most, _by_kind(cells, views - views_before, views, views_before)


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
) -> dict[bytes, list[Ranked]]:
    """Every kind among the cells has a list, if an empty one; of too many kinds, the most frequent."""
    kind_of = first_of_kinds(*cells.keys())
    firsts, places = np.unique(kind_of, return_inverse=True)
    if len(firsts) > KINDS_MAX:
        events = np.bincount(places, weights=views + views_before)
        firsts = firsts[np.argsort(-events, kind="stable")[:KINDS_MAX]]
    found = {}
    for first in firsts.tolist():
        of_kind = np.nonzero((kind_of == first) & (scores > 0))[0]
        if len(of_kind) > TOP:
            of_kind = of_kind[np.argpartition(-scores[of_kind], TOP - 1)[:TOP]]
        found_views, found_before = views[of_kind].tolist(), views_before[of_kind].tolist()
        videos = [*map(Ranked, cells.videos(of_kind), found_views, found_before)]
        # Equal ones by name, so that a list looks alike whenever it is made.
        order = sorted(zip((-scores[of_kind]).tolist(), videos, strict=True), key=lambda one: (one[0], one[1].video_id))
        found[cells.kind(first)] = [ranked for _, ranked in order]
    return found
