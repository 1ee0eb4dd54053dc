"""Makes the top lists of an hour of one shard from its minutes, in several passes when it has many cells.

Each pass takes some of the videos, and all cells of each of them, so the number of passes changes no list. Memory holds
the sums of one pass only, however much the hours hold.
"""

from collections.abc import Callable, Iterable, Sequence

from udfs.logic.kernels.key_table import Bytes
from udfs.logic.minutes.closed_minutes import BUCKETS, ClosedMinute
from udfs.logic.ranking.kind_sums import chosen_kinds
from udfs.logic.ranking.lists import TOP, Lists, Ranked, most_viewed_and_growing

# So many cells are summed in one pass. Each takes about 150 bytes.
CELLS_AT_ONCE = 1 << 17


def rank_hour(
    span: Sequence[ClosedMinute], before: Sequence[ClosedMinute], declared: Sequence[bytes] = ()
) -> tuple[Lists, Lists]:
    """Return (the lists of the most viewed videos, the lists of those that grew most against the span before)."""
    passes = passes_for(sum(minute.cells for minute in (*span, *before)))
    if passes == 1:
        return most_viewed_and_growing(_rows(span, 0, BUCKETS), _rows(before, 0, BUCKETS), declared)
    step = BUCKETS // passes
    # All videos together decide which kinds have lists.
    of_span = chosen_kinds(lambda: _rows(span, 0, BUCKETS), passes, declared)
    of_both = chosen_kinds(lambda: _rows((*span, *before), 0, BUCKETS), passes, declared)
    found = [
        most_viewed_and_growing(_rows(span, at, at + step), _rows(before, at, at + step), declared, (of_span, of_both))
        for at in range(0, BUCKETS, step)
    ]
    return (
        _merged([most for most, _ in found], lambda one: -one.views),
        _merged([growing for _, growing in found], lambda one: one.views_before - one.views),
    )


def passes_for(cells: int) -> int:
    """Return the number of passes for so many cells, a power of two."""
    passes = 1
    while cells > passes * CELLS_AT_ONCE and passes < BUCKETS:
        passes *= 2
    return passes


def _rows(minutes: Iterable[ClosedMinute], first: int, last: int) -> Iterable[Bytes]:
    return (minute.rows(first, last) for minute in minutes)


def _merged(parts: Sequence[Lists], by: Callable[[Ranked], int]) -> Lists:
    def best(kind: bytes) -> list[Ranked]:
        of_kind = (one for part in parts for one in part.of_kind.get(kind, ()))
        return sorted(of_kind, key=lambda one: (by(one), one.video_id))[:TOP]

    return Lists(
        {kind: best(kind) for kind in dict.fromkeys(kind for part in parts for kind in part.of_kind)}, parts[0].kinds
    )
