"""The most viewed videos of a span of minutes within one shard, and those that grew most against the span before.

A video lives in one shard, so the lists of all shards, merged, are exact, where each shard has ranked the kind. Clients
name kinds as they like: declared kinds are always ranked, others while there is room, and a shard that has left out any
says so (`Lists.kinds`). Which those are depends on the counts alone.
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
# Of more kinds than this the declared and the most frequent are ranked, so that nobody can make the job write millions
# of lists.
KINDS_MAX = 64


class Ranked(NamedTuple):
    """One video of a list."""

    video_id: bytes
    views: int
    # In the span before, as long; 0 where nothing is compared.
    views_before: int


class Lists(NamedTuple):
    """By kind its list, and the list of kinds, which is empty where every kind has a list.

    In the list of kinds are the declared ones, the others that are ranked with the events of each, and last, with no
    name, what is left out: (the events of the most frequent kind among it, how many kinds it is).
    """

    of_kind: dict[bytes, list[Ranked]]
    kinds: list[Ranked]


class Choice(NamedTuple):
    """Of too many kinds those that have lists, and the list of kinds (`Lists.kinds`)."""

    ranked: list[bytes]
    kinds: list[Ranked]


def most_viewed(cells: MinuteCells, declared: Sequence[bytes] = ()) -> Lists:
    """The TOP videos by views, most first."""
    views = cells.counts()
    return _by_kind(cells, views, views, np.zeros_like(views), declared, None, is_part=False)


def most_viewed_and_growing(
    span: Iterable[Bytes],
    before: Iterable[Bytes],
    declared: Sequence[bytes] = (),
    chosen: tuple[Choice | None, Choice | None] | None = None,
) -> tuple[Lists, Lists]:
    """As `most_viewed`, of rows; and by kind the TOP videos by growth against the span before, where above 0.

    `chosen`, where the rows are a part of all, is what all rows say of kinds, of the span and of both.
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
    declared: Sequence[bytes],
    choice: Choice | None,
    *,
    is_part: bool,
) -> Lists:
    """Every kind that is ranked has a list, if an empty one. Of a part of all rows the choice is given."""
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
        # Equal ones by name, so that a list looks alike whenever it is made.
        order = sorted(zip((-scores[of_kind]).tolist(), videos, strict=True), key=lambda one: (one[0], one[1].video_id))
        found[cells.kind(first)] = [ranked for _, ranked in order]
    return Lists(found, [] if choice is None else choice.kinds)


class KindEvents:
    """How many events kinds have, as far as it decides which of them have lists. `declared` kinds always have one."""

    def __init__(self, declared: Sequence[bytes]) -> None:
        self._declared = declared
        # For how many other kinds there is room.
        self._room = KINDS_MAX - len(declared)
        self._of_declared: dict[bytes, int] = {}
        # Of the other kinds, those with the most events; `_number_of_others` counts all.
        self._others: list[tuple[bytes, int]] = []
        self._number_of_others = 0

    def add(self, cells: MinuteCells, firsts: npt.NDArray[np.int64], events: npt.NDArray[np.int64]) -> None:
        """Add kinds that were not added before: `firsts[n]` is a cell of each, `events[n]` are its events."""
        is_declared = _are_named(*cells.keys(), firsts, *_packed(self._declared))
        self._of_declared.update(_named(cells, firsts[is_declared], events[is_declared]))
        others, events_of_others = firsts[~is_declared], events[~is_declared]
        self._number_of_others += len(others)
        # One more than have room, whose events say whether the last of these is as frequent.
        most = self._room + 1
        needed = np.arange(len(others))
        if len(others) > most:
            needed = np.argpartition(events_of_others, len(others) - most)[-most:]
        self._others += _named(cells, others[needed], events_of_others[needed])

    def choice(self) -> Choice | None:
        """Which kinds have lists; None: all.

        Of equally frequent ones all or none have lists: which came first is not the same after a restore.
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
    """Of which of these cells the kind is one of the names; name i is names[ends[i] : ends[i + 1]]."""
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
