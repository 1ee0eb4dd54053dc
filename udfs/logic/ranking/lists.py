"""Ranks the most viewed videos of a span of minutes in one shard, and those that grew most against the span before.

One shard counts all of a video, so the merged lists of all shards are exact if each shard has ranked the kind. Clients
may name any number of kinds. Declared kinds are always ranked, and the most frequent of the others while there is room.
A shard that has left kinds out says so (`Lists.kinds`). Only the counts decide which kinds these are.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.kinds import OF_KINDS
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import njit
from udfs.logic.minutes.cells import MinuteCells, first_of_kinds, same_bytes

TOP = 100
# If there are more kinds than this, only the declared and the most frequent ones are ranked, so that no client can make
# the job write millions of lists.
KINDS_MAX = 64


class Ranked(NamedTuple):
    """One video of a list."""

    video_id: bytes
    views: int
    # The views in the span before, which is as long; 0 in a list that compares nothing.
    views_before: int


class Lists(NamedTuple):
    """The list of each kind, and the list of kinds, which is empty if every kind has a list.

    The list of kinds has the ranked kinds, declared and others, with the events of each. Its last entry has no name and
    stands for the kinds that were left out: (events of the most frequent of them, how many they are).
    """

    of_kind: dict[bytes, list[Ranked]]
    kinds: list[Ranked]


class Choice(NamedTuple):
    """The kinds that have lists when there are too many kinds, and the list of kinds (`Lists.kinds`)."""

    ranked: list[bytes]
    kinds: list[Ranked]


def most_viewed(cells: MinuteCells, declared: Sequence[bytes] = ()) -> Lists:
    """Return the TOP videos of each kind by views, most viewed first."""
    views = cells.counts()
    return _by_kind(cells, views, views, np.zeros_like(views), declared, None, is_part=False)


def most_viewed_and_growing(
    span: Iterable[Bytes],
    before: Iterable[Bytes],
    declared: Sequence[bytes] = (),
    chosen: tuple[Choice | None, Choice | None] | None = None,
) -> tuple[Lists, Lists]:
    """Return the lists of `most_viewed` for these rows, and the TOP videos that grew most against the span before.

    `chosen` is given when these rows are a part of all rows. It is the choice of kinds by all rows: (that by the span,
    that by both spans).
    """
    cells = summed(span)
    counted = cells.counts()
    of_span, of_both = chosen or (None, None)
    most = _by_kind(cells, counted, counted, np.zeros_like(counted), declared, of_span, is_part=chosen is not None)
    for rows in before:
        cells.add(rows)
    views = np.zeros(len(cells), np.int64)
    views[: len(counted)] = counted
    views_before = cells.counts() - views
    growth = views - views_before
    return most, _by_kind(cells, growth, views, views_before, declared, of_both, is_part=chosen is not None)


def summed(span: Iterable[Bytes]) -> MinuteCells:
    """Sum rows without minute."""
    cells = MinuteCells()
    for rows in span:
        cells.add(rows)
    return cells


def _by_kind(
    cells: MinuteCells,
    scores: npt.NDArray[np.int64],
    views: npt.NDArray[np.int64],
    views_before: npt.NDArray[np.int64],
    declared: Sequence[bytes],
    choice: Choice | None,
    *,
    is_part: bool,
) -> Lists:
    """Make a list, maybe an empty one, for each kind that is ranked. For a part of all rows the choice is given."""
    kind_of = first_of_kinds(*cells.keys())
    firsts = np.nonzero(kind_of == np.arange(len(kind_of)))[0]
    if not is_part:
        events = np.bincount(kind_of, weights=views + views_before, minlength=len(kind_of))[firsts].astype(np.int64)
        kinds = KindEvents(declared)
        kinds.add(cells, firsts, events)
        choice = kinds.choice()
    if choice is not None:
        firsts = firsts[_are_named(*cells.keys(), firsts, *_packed(choice.ranked))]
    found = {}
    for first, best in zip(firsts.tolist(), _best(kind_of, scores, firsts, TOP), strict=True):
        of_kind = np.array([cell for score, cell in best if score > 0], np.int64)
        found_views, found_before = views[of_kind].tolist(), views_before[of_kind].tolist()
        videos = [*map(Ranked, cells.videos(of_kind), found_views, found_before)]
        # Videos with equal scores are ordered by name, so that the list is the same whenever it is made.
        order = sorted(zip((-scores[of_kind]).tolist(), videos, strict=True), key=lambda one: (one[0], one[1].video_id))
        found[cells.kind(first)] = [ranked for _, ranked in order]
    return Lists(found, [] if choice is None else choice.kinds)


class KindEvents:
    """Collects the events of kinds and chooses which kinds have lists. `declared` kinds always have one."""

    def __init__(self, declared: Sequence[bytes]) -> None:
        self._declared = declared
        # So many other kinds can have lists.
        self._room = KINDS_MAX - len(declared)
        self._of_declared: dict[bytes, int] = {}
        # The other kinds that have the most events; `_number_of_others` counts all other kinds.
        self._others: list[tuple[bytes, int]] = []
        self._number_of_others = 0

    def add(self, cells: MinuteCells, firsts: npt.NDArray[np.int64], events: npt.NDArray[np.int64]) -> None:
        """Add kinds that were not added before: `firsts[n]` is a cell of each, `events[n]` are its events."""
        is_declared = _are_named(*cells.keys(), firsts, *_packed(self._declared))
        self._of_declared.update(_named(cells, firsts[is_declared], events[is_declared]))
        others, events_of_others = firsts[~is_declared], events[~is_declared]
        self._number_of_others += len(others)
        # Keep one more than there is room for. Its events say whether the last one with room is only as frequent.
        most = self._room + 1
        needed = np.arange(len(others))
        if len(others) > most:
            needed = np.argpartition(events_of_others, len(others) - most)[-most:]
        self._others += _named(cells, others[needed], events_of_others[needed])

    def choice(self) -> Choice | None:
        """Return which kinds have lists, or None if all have.

        Of equally frequent kinds, either all or none have lists, because their order may differ after a restore.
        """
        if self._number_of_others <= self._room:
            return None
        most = sorted(self._others, key=lambda one: -one[1])
        least = most[self._room][1]
        frequent = {kind: events for kind, events in most[: self._room] if events > least}
        listed = {**dict.fromkeys(self._declared, 0), **self._of_declared, **frequent}
        ranked = sorted(listed)
        left = Ranked(OF_KINDS.encode(), least, self._number_of_others - len(frequent))
        return Choice(ranked, [*(Ranked(kind, listed[kind], 0) for kind in ranked), left])


def _named(cells: MinuteCells, of: npt.NDArray[np.int64], events: npt.NDArray[np.int64]) -> Iterable[tuple[bytes, int]]:
    return zip(map(cells.kind, of.tolist()), events.tolist(), strict=True)


def _packed(names: Sequence[bytes]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    return np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)])


@njit(cache=True)
def _are_named(arena, key_at, firsts, names, ends):  # type: ignore[no-untyped-def]
    """Return, for each of these cells, whether its kind is one of the names; name i is names[ends[i] : ends[i + 1]]."""
    found = np.zeros(firsts.shape[0], np.bool_)
    for i in range(firsts.shape[0]):
        at = key_at[firsts[i]]
        length = np.int64(arena[at])
        for name in range(ends.shape[0] - 1):
            start = ends[name]
            if ends[name + 1] - start == length and same_bytes(names, start, arena, at + 1, length):
                found[i] = True
                break
    return found


@njit(cache=True)
def _best(kind_of, scores, firsts, most):  # type: ignore[no-untyped-def]
    """Return, for each of these kinds, (score, cell) of the `most` highest scores, unordered and filled up with zeros.

    It takes one pass, with a heap for each kind whose lowest score is on top. Nearly all cells end at the comparison
    with that score.
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
