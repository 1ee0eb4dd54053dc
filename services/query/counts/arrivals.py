"""Says how far what was acknowledged is counted, by the stream's progress and by what waits in overflow. Pure.

Take the listing of overflow before anything else of an answer is read: an object may be drained and counted meanwhile,
but none that was there is missed.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.progress import frontier_ms
from services.query.counts.completeness import ALWAYS
from services.query.counts.spans import Span, merged
from udfs.logic.overflow.waiting import Listing, Waits


@dataclass(frozen=True)
class Arrivals:
    """What an answer may say. `complete` is the end of the last minute that the stream has closed, or None.

    `listing` is None if overflow is watched and no listing has succeeded, so that nobody knows what waits.
    """

    complete: datetime | None
    listing: Listing | None
    lateness_ms: int
    is_watched: bool = True

    def complete_through(self, complete: datetime | None, span: Span | None = None) -> datetime | None:
        """A time before which an answer is complete by all other reasons, with regard to overflow.

        `span` is what the answer is about; without one, it is about all times.
        """
        if not self.is_watched or complete is None:
            return complete
        if self.listing is None:
            return None
        return min(complete, _time(self.listing.complete_ms(self.lateness_ms, *_bounds(span))))

    def closed(self, complete: datetime | None, missing: Sequence[Span] = ()) -> "Closed":
        """Which points of an answer are complete that is complete before `complete` otherwise, and lacks `missing`."""
        if complete is None or (self.is_watched and self.listing is None):
            return Closed(ALWAYS, [])
        if self.listing is None:
            return Closed(complete, merged(missing))
        until = min(complete, _time(self.listing.known_ms(self.lateness_ms)))
        return Closed(until, merged([*missing, *((_time(first), _time(end)) for first, end in self.listing.spans())]))

    def through(self, span: Span | None = None) -> datetime | None:
        """Each event that was acknowledged before is in, late ones apart. None if that is not known."""
        frontier = frontier_ms(self.complete, self.lateness_ms)
        if frontier is None or (self.is_watched and self.listing is None):
            return None
        if self.listing is None:
            return _time(frontier)
        return _time(self.listing.arrivals_ms(frontier, *_bounds(span)))

    def waiting(self, span: Span | None = None) -> Waits | None:
        """The events in overflow that may belong to the answer; None if there are none, or nobody knows."""
        return None if self.listing is None else self.listing.waits(*_bounds(span))


class Closed:
    """Says of spans whether they are complete: they end by `until`, and touch none of `open_spans`.

    The spans are merged and in order.
    """

    def __init__(self, until: datetime, open_spans: Sequence[Span]) -> None:
        self._until = until
        self._open = open_spans
        self._ends = [end for _, end in open_spans]

    def has(self, start: datetime, end: datetime) -> bool:
        """Whether the time from `start` to before `end` is complete, late events apart."""
        if end > self._until:
            return False
        # The first open span that ends after the start is the only one that can begin before the end, or a later one.
        at = bisect.bisect_right(self._ends, start)
        return at == len(self._open) or self._open[at][0] >= end


def overflow_notice(listing: Listing | None, *, now: datetime, list_s: float, late_hours: int) -> Sequence[str]:
    """Sentences for operators about overflow."""
    now_ms = round(now.timestamp() * 1000)
    said = []
    if listing is None or now_ms - listing.began_ms > max(60_000, 10_000 * list_s):
        said.append("overflow could not be listed lately, so no answer is complete: see the log")
    waits = None if listing is None else listing.waits()
    if waits is not None:
        hours = (now_ms - waits.since_ms) / 3_600_000
        part = hours / late_hours
        urgent = "; at once: what waits longer than history.late_hours is not counted" if part >= URGENT else ""
        look = "; see whether drainers run and Kafka takes records" if part >= ALARM else ""
        said.append(f"{waits.events} events wait in overflow, the oldest for {hours:.1f} hours{look}{urgent}")
    return said


# The part of history.late_hours after which the oldest object is an alarm, and after which somebody must be woken.
ALARM, URGENT = 0.1, 0.5


def _bounds(span: Span | None) -> tuple[int | None, int | None]:
    if span is None:
        return None, None
    start, end = span
    return None if start == ALWAYS else round(start.timestamp() * 1000), round(end.timestamp() * 1000)


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)
