"""Lists the folder of overflow every few seconds, in a thread. While that fails, the last listing stays and ages."""

import asyncio
import time
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from services.query.counts.said_once import SaidOnce
from udfs.logic.overflow.object_name import ObjectName
from udfs.logic.overflow.waiting import Listing

LOG = structlog.get_logger("query")
NAN = float("nan")


class OverflowWatch:
    """`listing` is the last one that succeeded; None before the first.

    `names` lists all objects, and may raise anything.
    """

    def __init__(self, names: Callable[[], list[ObjectName]], list_s: float, registry: CollectorRegistry) -> None:
        self._add_metrics(registry)
        self._names = names
        self._list_s = list_s
        self._said = SaidOnce(LOG)
        self.listing: Listing | None = None

    def _add_metrics(self, registry: CollectorRegistry) -> None:
        def add(name: str, text: str, value: Callable[[Listing], float]) -> None:
            gauge = Gauge(f"view_counts_overflow_{name}", text, registry=registry)
            gauge.set_function(lambda: NAN if self.listing is None else value(self.listing))

        def age_s(listing: Listing) -> float:
            waits = listing.waits()
            return 0.0 if waits is None else time.time() - waits.since_ms / 1000

        def events(listing: Listing) -> float:
            waits = listing.waits()
            return 0.0 if waits is None else waits.events

        add("waiting_events", "Events that wait in overflow until the stream has counted them; NaN if unknown.", events)
        add("oldest_age_seconds", "How long the oldest of them wait; 0 if none do, NaN if that is unknown.", age_s)
        add(
            "listed_timestamp_seconds",
            "When the last listing of overflow began that succeeded. Answers are complete no further than that.",
            lambda listing: listing.began_ms / 1000,
        )

    async def run(self) -> None:
        """List until cancelled."""
        while True:
            began_ms = time.time_ns() // 1_000_000
            try:
                names = await asyncio.to_thread(self._names)
            # The store's client raises errors of several libraries.
            except Exception as error:
                self._said.failed("overflow cannot be listed, so answers are complete no further", error)
            else:
                self.listing = Listing(began_ms, names)
                self._said.succeeded()
            await asyncio.sleep(self._list_s)
