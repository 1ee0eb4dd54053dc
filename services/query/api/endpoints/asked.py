"""What every endpoint needs: the store, the clock, and how complete the numbers are."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import EllipsisType
from typing import TypedDict

from msgspec import UNSET, UnsetType

from services.query.api.answers.about import Degraded, MissingSpan, Waiting
from services.query.api.texts import time_text, utc_text
from services.query.counts.arrivals import Arrivals
from services.query.counts.completeness import ALWAYS, HistoryState
from services.query.counts.knowledge import Knowledge
from services.query.counts.known import Known
from services.query.counts.overflow_watch import OverflowWatch
from services.query.counts.partial import Unknown
from services.query.counts.spans import Span
from services.query.counts.store import CountStore
from services.query.counts.trust import Trust, trust_headers
from services.query.counts.trust_watch import TrustWatch
from settings import Settings


class Asked:
    """What the endpoints of all resources ask.

    `now` is the clock, in UTC. `overflow` is None where no overflow is watched. `watch` reads beside the requests how
    the stream is and what audits found.
    """

    def __init__(
        self,
        settings: Settings,
        store: CountStore,
        now: Callable[[], datetime],
        overflow: OverflowWatch | None,
        watch: TrustWatch,
    ) -> None:
        self.settings = settings
        self.store = store
        self.now = now
        self.overflow = overflow
        self.watch = watch
        self.points_max = settings.query.points_max
        self.knowledge = Knowledge(
            store,
            lambda: None if overflow is None else overflow.listing,
            refresh_s=settings.query.refresh_ms / 1000,
            stale_s=settings.query.stale_s,
        )

    @property
    def trust(self) -> Trust:
        """How the stream is and what audits found, as far as that is known now. Ask for it anew for each answer."""
        return self.watch.known

    def of_trust(self, span: Span | None) -> dict[str, str]:
        """Header fields of an answer about this span, of what changes while the answer does not."""
        return trust_headers(self.trust, now=self.now(), span=span)

    async def complete(self) -> tuple[Arrivals, HistoryState]:
        """How far the stream and history are complete. Read it before any number. Raises HistoryAwayError."""
        known = await self.knowledge.get()
        return self.arrivals_of(known), known.history

    async def arrivals(self) -> Arrivals:
        """How far the stream is complete. Read it before any number."""
        return self.arrivals_of(await self.knowledge.get())

    async def history(self) -> HistoryState:
        """Which state of history the tables hold. Raises HistoryAwayError."""
        return (await self.knowledge.get()).history

    def arrivals_of(self, known: Known) -> Arrivals:
        """How far the stream is complete, by what is known."""
        lateness_ms = self.settings.counting.lateness_ms
        return Arrivals(known.complete, known.listing, lateness_ms, is_watched=self.overflow is not None)


class OfArrivals(TypedDict):
    """The fields of an answer that say how complete it is."""

    complete_through: str | None
    arrivals_through: str | None
    waiting: Waiting | None


def of_arrivals(
    arrivals: Arrivals, span: Span | None = None, *, complete: datetime | EllipsisType | None = ...
) -> OfArrivals:
    """What an answer about this span says about events that are not in it yet.

    `complete` is how far it is complete otherwise: as far as the stream, unless that is given.
    """
    otherwise = arrivals.complete if complete is ... else complete
    waits = arrivals.waiting(span)
    return {
        "complete_through": time_text(arrivals.complete_through(otherwise, span)),
        "arrivals_through": time_text(arrivals.through(span)),
        "waiting": waits and Waiting(waits.events, utc_text(datetime.fromtimestamp(waits.since_ms / 1000, UTC))),
    }


def of_unknown(unknown: Sequence[Unknown]) -> list[Degraded] | UnsetType:
    """What an answer says about the points that nobody knows."""

    def said(one: Unknown) -> Degraded:
        start, end = one.span
        return Degraded("history", one.reason, UNSET if start == ALWAYS else utc_text(start), utc_text(end))

    return [said(one) for one in unknown] or UNSET


class OfHistory(TypedDict):
    """The fields of an answer that say which history it came from."""

    late_through: str | None
    history_revision: int
    missing: list[MissingSpan]


def of_history(history: HistoryState, spans: Sequence[Span], *, before: datetime | None = None) -> OfHistory:
    """What an answer about these spans says about the history that it came from."""
    missing = history.missing(spans, before=before)
    return {
        "late_through": time_text(history.late_through),
        "history_revision": history.revision,
        "missing": [MissingSpan(None if start == ALWAYS else utc_text(start), utc_text(end)) for start, end in missing],
    }
