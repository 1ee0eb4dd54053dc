"""The most viewed videos of a span of minutes within one shard, and those that grew most against the span before.

A video lives in one shard, so the lists of all shards, merged, are exact, where each shard has ranked the kind. Clients
name kinds as they like: declared kinds are always ranked, others while there is room, and a shard that has left out any
says so (`Lists.kinds`). Which those are depends on the counts alone.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.kinds import OF_KINDS
from udfs.logic.cells import MinuteCells, first_of_kinds, same_bytes
from udfs.logic.key_table import Bytes
from udfs.logic.numba_compat import njit

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
        choice = _choice(cells, firsts, events, declared)
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


def choice_of(
    of_declared: Mapping[bytes, int], others: Iterable[tuple[bytes, int]], number: int, declared: Sequence[bytes]
) -> Choice | None:
    """Which kinds have lists, by the events of each; None: all. Of `others` so many as `choice_needs` are enough.

    `number` is how many others there are. Of equally frequent ones all or none have lists: which came first is not the
    same after a restore.
    """
    room = KINDS_MAX - len(declared)
    if number <= room:
        return None
    most = sorted(others, key=lambda one: -one[1])
    least = most[room][1]
    events = {**dict.fromkeys(declared, 0), **of_declared, **{kind: n for kind, n in most[:room] if n > least}}
    ranked = sorted(events)
    left = Ranked(OF_KINDS.encode(), least, number - len(ranked) + len(declared))
    return Choice(ranked, [*(Ranked(kind, events[kind], 0) for kind in ranked), left])


def choice_needs(events: npt.NDArray[np.int64], declared: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Which of the kinds that are not declared `choice_of` has to be told, by their events."""
    most = KINDS_MAX - len(declared) + 1
    if len(events) <= most:
        return np.arange(len(events))
    return np.argpartition(events, len(events) - most)[-most:]


def _choice(
    cells: MinuteCells, firsts: npt.NDArray[np.int64], events: npt.NDArray[np.int64], declared: Sequence[bytes]
) -> Choice | None:
    """Of all kinds of the cells; `firsts` are the first cells of each."""
    is_declared = _are_named(*cells.keys(), firsts, *_packed(declared))
    others, events_of_others = firsts[~is_declared], events[~is_declared]
    needed = choice_needs(events_of_others, declared)

    def named(cell_of: npt.NDArray[np.int64], number_of: npt.NDArray[np.int64]) -> Iterable[tuple[bytes, int]]:
        return zip(map(cells.kind, cell_of.tolist()), number_of.tolist(), strict=True)

    of_declared = dict(named(firsts[is_declared], events[is_declared]))
    return choice_of(of_declared, named(others[needed], events_of_others[needed]), len(others), declared)


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
