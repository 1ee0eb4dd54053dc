"""What the services tell Prometheus, as its own parser reads it; ingest's tally by minute."""

import math
from datetime import UTC, datetime

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.ingest.tally import IngestTally, Minute
from services.query.metrics import exposition
from udfs.logic.history.register import Applied, nothing_applied

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_HOUR = int(NOON.timestamp()) // 3600


def parsed(text: bytes) -> dict[tuple[str, ...], float]:
    """By name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_ledger_and_progress_as_metrics() -> None:
    applied = Applied(
        "manifests/7-a.json", 7_000_000, 0, NOON_HOUR - 2, NOON_HOUR - 1, [(1, 1), (5, 7)], {1: 3, 2: 4}, ["a"]
    )
    tally = {"received": 5, "counted": 4, "late": 0}
    found = parsed(exposition(tally, is_balanced=False, complete_through=NOON, applied=applied, missing_records=9))
    assert found == {
        ("view_counts_ledger_events", "received"): 5,
        ("view_counts_ledger_events", "counted"): 4,
        ("view_counts_ledger_events", "late"): 0,
        ("view_counts_ledger_balanced",): 0,
        ("view_counts_missing_records",): 9,
        ("view_counts_complete_through_timestamp_seconds",): NOON.timestamp(),
        ("view_counts_history_complete_through_timestamp_seconds",): NOON.timestamp() - 7200,
        ("view_counts_history_late_through_timestamp_seconds",): NOON.timestamp() - 3600,
        ("view_counts_history_revision",): 7_000_000,
        ("view_counts_history_gap_hours",): 4,
        ("view_counts_history_missing_records",): 7,
        ("view_counts_history_warnings",): 1,
    }


def test_before_the_first_minute_is_closed_and_the_first_rollup_has_run() -> None:
    for applied, revision in ((nothing_applied(), 0.0), (None, math.nan)):
        found = parsed(exposition({}, is_balanced=True, complete_through=None, applied=applied))
        assert math.isnan(found["view_counts_complete_through_timestamp_seconds",])
        assert math.isnan(found["view_counts_history_complete_through_timestamp_seconds",])
        assert math.isnan(found["view_counts_history_late_through_timestamp_seconds",])
        for name in ("revision", "gap_hours", "warnings"):
            assert found[f"view_counts_history_{name}",] == pytest.approx(revision, nan_ok=True)


def test_ingest_tallies_by_minute_of_arrival_and_forgets_the_oldest() -> None:
    tally = IngestTally(minutes_max=2)
    for append_ms, events in ((60_000, 3), (119_999, 0), (180_000, 5), (120_000, 7)):
        tally.acknowledged(append_ms, events)
    assert tally.minutes() == [(2, Minute(1, 7)), (3, Minute(1, 5))]
    tally.not_written(2)
    tally.rejected(1)
    tally.answered(202)
    tally.limited("key")
    tally.limits_shared.set(True)
    tally.in_flight.set_function(lambda: 11)
    found = parsed(generate_latest(tally.registry))
    assert {name: value for name, value in found.items() if "loop_lag" not in name[0]} == {
        ("view_counts_ingest_events_total", "acknowledged"): 15,
        ("view_counts_ingest_events_total", "diverted"): 0,
        ("view_counts_ingest_events_total", "stored"): 0,
        ("view_counts_ingest_overflow_bytes",): 0,
        ("view_counts_ingest_overloaded_total",): 0,
        ("view_counts_ingest_events_total", "rejected"): 1,
        ("view_counts_ingest_events_total", "not_written"): 2,
        ("view_counts_ingest_records_total",): 4,
        ("view_counts_ingest_answers_total", "202"): 1,
        ("view_counts_ingest_events_in_flight",): 11,
        ("view_counts_ingest_limited_total", "key"): 1,
        ("view_counts_ingest_limited_total", "address"): 0,
        ("view_counts_ingest_limits_shared",): 1,
    }
