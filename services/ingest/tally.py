"""What this process has done with events: its own account, to be held against the count job's ledger.

By minute of arrival, as the ledger has it: the broker's append time comes back with each acknowledgement. Where every
producer is an ingest process, the tallies of all of them add up to the ledger's `received`, save for writes whose
acknowledgement was lost: those the ledger has and no tally does.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from settings.durations import MINUTE_MS


@dataclass
class Minute:
    """Acknowledged in one minute of arrival: records, heartbeats among them, and the events in them."""

    records: int = 0
    events: int = 0


class IngestTally:
    """Of one process, since its start; the minutes only of the last `minutes_max`."""

    def __init__(self, minutes_max: int) -> None:
        self._minutes_max = minutes_max
        self._minutes: dict[int, Minute] = {}
        self.registry = CollectorRegistry()
        self._events = Counter(
            "view_counts_ingest_events",
            "Events by what became of them here: acknowledged by Kafka, rejected for what they say, or not written.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("acknowledged", "rejected", "not_written"):
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
        self.in_flight = Gauge(
            "view_counts_ingest_events_in_flight", "Events taken and not yet acknowledged.", registry=self.registry
        )

    def acknowledged(self, append_ms: int, events: int) -> None:
        """Kafka has a record of so many events, appended then."""
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
        """Kafka has not acknowledged these, and may or may not have them."""
        self._events.labels("not_written").inc(events)

    def rejected(self, events: int) -> None:
        """These were refused for what they say."""
        self._events.labels("rejected").inc(events)

    def answered(self, status: int) -> None:
        """A request was answered."""
        self._answers.labels(str(status)).inc()

    def minutes(self) -> list[tuple[int, Minute]]:
        """By epoch minute, in order."""
        return sorted(self._minutes.items())
