"""What a drainer tells Prometheus. Every drainer lists the same folder, so `waiting` is the same at all of them."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from udfs.logic.overflow.drained import Drained
from udfs.logic.overflow.object_name import ObjectName


class DrainMetrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "view_counts_drain_events",
            "Events of objects that this process has drained: written to Kafka, too old to be counted, or refused.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("drained", "too_old", "refused"):
            self._events.labels(outcome)
        self._objects = Gauge(
            "view_counts_drain_objects",
            "Objects of overflow that are there, until the stream has counted them.",
            registry=self.registry,
        )
        self._waiting = Gauge("view_counts_drain_waiting_events", "Events in these objects.", registry=self.registry)
        self._oldest = Gauge(
            "view_counts_drain_oldest_age_seconds",
            "The age of the oldest of them; 0 without any.",
            registry=self.registry,
        )
        self._broken = Gauge(
            "view_counts_drain_broken_objects", "Objects that cannot be read, and stay.", registry=self.registry
        )

    def waiting(self, names: Sequence[ObjectName], now_ms: int) -> None:
        """Note the objects that a listing found, the oldest first."""
        self._objects.set(len(names))
        self._waiting.set(sum(name.events for name in names))
        self._oldest.set((now_ms - names[0].made_ms) / 1000 if names else 0)

    def done(self, account: Drained) -> None:
        """Note that an object was drained."""
        self._events.labels("drained").inc(account.events)
        self._events.labels("too_old").inc(account.too_old)
        self._events.labels("refused").inc(account.refused)

    def broken(self, count: int) -> None:
        """Note how many objects cannot be read."""
        self._broken.set(count)
