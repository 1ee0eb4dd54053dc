"""The ledger, the progress of counting and the state of history as Prometheus metrics."""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from udfs.logic.history.register import Applied

NAN = float("nan")


def exposition(
    tally: Mapping[str, int],
    *,
    is_balanced: bool,
    complete_through: datetime | None,
    applied: Applied | None,
    missing_records: int = 0,
) -> bytes:
    """The text that Prometheus scrapes.

    `tally` is the ledger of one minute of arrival, by column. `applied` says which state of history the tables hold; it
    is None if there is no register, or if the register does not say. `missing_records` is the number of records that
    the stream has not counted, because Kafka had deleted them already.
    """
    registry = CollectorRegistry()
    events = Gauge(
        "view_counts_ledger_events",
        "The ledger of the last minute of arrival that is surely written: events by fate, received, and records.",
        ["fate"],
        registry=registry,
    )
    for name, value in tally.items():
        events.labels(name).set(value)
    Gauge(
        "view_counts_ledger_balanced",
        "1 if received = counted + duplicate + late + invalid + blocked + dead-lettered in that minute, otherwise 0.",
        registry=registry,
    ).set(is_balanced)
    Gauge(
        "view_counts_missing_records",
        "Records that the stream has not counted, because Kafka had deleted them before the count job was started.",
        registry=registry,
    ).set(missing_records)
    complete = Gauge(
        "view_counts_complete_through_timestamp_seconds",
        "The time through which all minutes are closed; NaN before the first.",
        registry=registry,
    )
    complete.set(NAN if complete_through is None else complete_through.timestamp())
    _add_history(registry, applied)
    return generate_latest(registry)


def add_stores(registry: CollectorRegistry, away: Mapping[str, Callable[[], bool]]) -> None:
    """Add whether each store answers; `away` says by its name whether it is known not to."""
    answers = Gauge(
        "view_counts_query_store_answers",
        "0 if the store is known not to answer now, otherwise 1. For object_store it is 1 before it is first asked.",
        ["store"],
        registry=registry,
    )
    for store, is_away in away.items():
        answers.labels(store).set_function(functools.partial(_answers, is_away))


def _answers(is_away: Callable[[], bool]) -> float:
    return 0.0 if is_away() else 1.0


def _add_history(registry: CollectorRegistry, applied: Applied | None) -> None:
    def add(name: str, text: str, value: float | None) -> None:
        Gauge(f"view_counts_history_{name}", text, registry=registry).set(NAN if value is None else value)

    through = late_through = None
    if applied is not None and applied.through_hour > 0:
        through = applied.complete_through.timestamp()
    if applied is not None and applied.late_through_hour > 0:
        late_through = applied.late_through.timestamp()
    add(
        "complete_through_timestamp_seconds",
        "The end of the last hour viewed that is complete in history; NaN before the first.",
        through,
    )
    add(
        "late_through_timestamp_seconds",
        "History contains the late events that arrived before this time; NaN before the first rollup.",
        late_through,
    )
    add(
        "revision",
        "Grows with every rollup and repair that writes history's tables; NaN if it is unknown what they have.",
        None if applied is None else applied.revision,
    )
    add(
        "gap_hours",
        "Hours viewed for which the archive lacks records.",
        None if applied is None else sum(last - first + 1 for first, last in applied.gap_hours),
    )
    add(
        "missing_records",
        "Records that the archive lacks.",
        None if applied is None else sum(applied.missing.values()),
    )
    add(
        "warnings",
        "How many warnings the last rollup has for operators: /readyz shows them.",
        None if applied is None else len(applied.warnings),
    )
