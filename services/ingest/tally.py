"""Counts what this process has done with events, to be compared with the count job's ledger.

The counts are by minute of arrival, as in the ledger: the broker's append time comes back with each acknowledgement. If
every producer is an ingest process, the tallies of all of them add up to the ledger's `received`. Only the ledger has
the writes whose acknowledgement was lost.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from settings.durations import MINUTE_MS

# Bounds of the histogram of the loop's lag.
LAGS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


@dataclass
class Minute:
    """What Kafka has acknowledged in one minute of arrival: records, heartbeats among them, and their events."""

    records: int = 0
    events: int = 0


class IngestTally:
    """The tally of one process since its start. It keeps the last `minutes_max` minutes."""

    def __init__(self, minutes_max: int) -> None:
        self._minutes_max = minutes_max
        self._minutes: dict[int, Minute] = {}
        # Since the process began.
        self.events_diverted = 0
        self.events_stored = 0
        self.registry = CollectorRegistry()
        self._events = Counter(
            "view_counts_ingest_events",
            "Events by their outcome: acknowledged by Kafka, rejected because of their content, not written by Kafka, "
            "stored in overflow (which were often not written before), or diverted to a topic apart.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("acknowledged", "rejected", "not_written", "stored", "diverted"):
            self._events.labels(outcome)
        self._records = Counter(
            "view_counts_ingest_records",
            "Records acknowledged by Kafka, heartbeats among them.",
            registry=self.registry,
        )
        self._answers = Counter(
            "view_counts_ingest_answers",
            "Answers to POST /v1/events by status code.",
            ["status"],
            registry=self.registry,
        )
        # A look-up by label costs more than the count.
        self._answers_by_status: dict[int, Counter] = {}
        self._limited = Counter(
            "view_counts_ingest_limited",
            "Requests refused because their caller has sent too much, by whose limit it was: that of the key (in open "
            "access the project) or of the client address.",
            ["scope"],
            registry=self.registry,
        )
        for scope in ("key", "address"):
            self._limited.labels(scope)
        self.behind = Counter(
            "view_counts_ingest_overloaded",
            "Requests refused before they began, because they would have waited longer than ingest.delay_max_ms.",
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "view_counts_ingest_loop_lag_seconds",
            "How late the event loop runs a timer that is due every 20 ms: about what a request waits until it begins.",
            buckets=LAGS_S,
            registry=self.registry,
        )
        self.limits_shared = Gauge(
            "view_counts_ingest_limits_shared",
            "1 if limits are shared with other processes through Redis, 0 if this process gives its own share.",
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "view_counts_ingest_events_in_flight", "Events taken and not yet acknowledged.", registry=self.registry
        )

        self.overflow_bytes = Gauge(
            "view_counts_ingest_overflow_bytes",
            "The size of events that wait until an object of overflow is stored.",
            registry=self.registry,
        )

    def acknowledged(self, append_ms: int, events: int) -> None:
        """Note that Kafka has appended a record of this number of events at `append_ms`."""
        at = append_ms // MINUTE_MS
        minute = self._minutes.get(at)
        if minute is None:
            minute = self._minutes[at] = Minute()
            while len(self._minutes) > self._minutes_max:
                del self._minutes[min(self._minutes)]
        minute.records += 1
        minute.events += events
        self._records.inc()
        self._events.labels("acknowledged").inc(events)

    def not_written(self, events: int) -> None:
        """Note events that Kafka has not acknowledged. It may have them or not."""
        self._events.labels("not_written").inc(events)

    def stored(self, events: int) -> None:
        """Note events that lie in overflow. Kafka may have them as well."""
        self.events_stored += events
        self._events.labels("stored").inc(events)

    def diverted(self, events: int) -> None:
        """Note events that Kafka has acknowledged in the topic of diverted keys, where nothing counts them."""
        self.events_diverted += events
        self._events.labels("diverted").inc(events)

    def rejected(self, events: int) -> None:
        """Note events that were rejected because of their content."""
        self._events.labels("rejected").inc(events)

    def limited(self, scope: str) -> None:
        """Note a request that was refused by a limit: "key" or "address"."""
        self._limited.labels(scope).inc()

    def overloaded(self) -> None:
        """Note a request that was refused with 503 because the process is behind."""
        self.behind.inc()
        self.answered(503)

    def answered(self, status: int) -> None:
        """Note the answer to a request."""
        counter = self._answers_by_status.get(status)
        if counter is None:
            counter = self._answers_by_status[status] = self._answers.labels(str(status))
        counter.inc()

    def minutes(self) -> list[tuple[int, Minute]]:
        """(minutes since 1970, what was acknowledged in that minute), in order."""
        return sorted(self._minutes.items())
