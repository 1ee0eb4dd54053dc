"""The ledger and the progress of counting as Prometheus metrics."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def exposition(tally: Mapping[str, int], *, is_balanced: bool, complete_through: datetime | None) -> bytes:
    """The text that Prometheus scrapes. `tally`: of one minute of arrival, the ledger's columns."""
    registry = CollectorRegistry()
    events = Gauge(
        "view_counts_ledger_events",
        "Ledger of the last minute of arrival that is surely written: events by fate, received, and records.",
        ["fate"],
        registry=registry,
    )
    for name, value in tally.items():
        events.labels(name).set(value)
    Gauge(
        "view_counts_ledger_balanced",
        "1 where received = counted + duplicate + late + invalid + blocked + dead-lettered in that minute.",
        registry=registry,
    ).set(is_balanced)
    complete = Gauge(
        "view_counts_complete_through_timestamp_seconds",
        "The time through which all minutes are closed; NaN before the first.",
        registry=registry,
    )
    complete.set(float("nan") if complete_through is None else complete_through.timestamp())
    return generate_latest(registry)
