"""How far answers are complete while events lie in overflow. Pure: times are ms since 1970; knows no store.

Whoever answers lists the objects every few seconds, and knows nothing of objects that were made after that listing
began. Events of these were acknowledged after it. So an answer is as it was when the listing began.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from settings.durations import MINUTE_MS
from udfs.logic.overflow.object_name import ObjectName


class Waits(NamedTuple):
    """How many events wait that may belong to an answer, and since when the oldest of them waits."""

    events: int
    since_ms: int


class Listing:
    """The objects that a listing found which began at `began_ms`.

    It must have begun before the rows of an answer are read. Else an object may have been listed, drained, counted and
    deleted, or made, in between.
    """

    def __init__(self, began_ms: int, names: Iterable[ObjectName] = ()) -> None:
        self.began_ms = began_ms
        self.names: Sequence[ObjectName] = [name for name in names if name.counts]

    def waits(self, first_ms: int | None = None, end_ms: int | None = None) -> Waits | None:
        """Return what waits of events viewed from `first_ms` to before `end_ms`. None is no bound, or nothing."""
        mine = self._touching(first_ms, end_ms)
        return Waits(sum(name.events for name in mine), min(name.made_ms for name in mine)) if mine else None

    def complete_ms(self, lateness_ms: int, first_ms: int | None = None, end_ms: int | None = None) -> int:
        """Return the time viewed, at a whole minute, before which an answer about this range can be complete.

        `known_ms` says why it is not later.
        """
        return min((self.known_ms(lateness_ms), *(name.first_viewed_ms for name in self._touching(first_ms, end_ms))))

    def known_ms(self, lateness_ms: int) -> int:
        """Return the time viewed, at a whole minute, before which no event can be in an object that nobody knows.

        Events acknowledged after the listing began can be in one. They are late for every minute that ended
        `lateness_ms` before.
        """
        return (self.began_ms - lateness_ms) // MINUTE_MS * MINUTE_MS

    def spans(self) -> list[tuple[int, int]]:
        """Return the times viewed, from the first to before the second, of which events wait, in no order."""
        return [(name.first_viewed_ms, name.viewed_until_ms) for name in self.names]

    def arrivals_ms(self, frontier_ms: int, first_ms: int | None = None, end_ms: int | None = None) -> int:
        """Return the time before which each event that was acknowledged is in, late ones apart.

        The stream has passed `frontier_ms`. An object gathers events before it is made, for a second at most; its
        events are acknowledged afterwards.
        """
        return min((frontier_ms, self.began_ms, *(name.made_ms for name in self._touching(first_ms, end_ms))))

    def _touching(self, first_ms: int | None, end_ms: int | None) -> list[ObjectName]:
        return [
            name
            for name in self.names
            if (first_ms is None or name.viewed_until_ms > first_ms)
            and (end_ms is None or name.first_viewed_ms < end_ms)
        ]
