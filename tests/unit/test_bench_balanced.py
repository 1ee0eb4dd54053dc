"""The benchmark of two processes behind the balancer: what is added up, and what is judged."""

import re
from typing import Any

import pytest
from prometheus_client import generate_latest

from benchmarks.comparing.ingest_balanced import acknowledged_events, repeatable
from benchmarks.contenders.ingest_services import OURS
from benchmarks.measuring import balanced_figures
from services.ingest.tally import IngestTally
from tools.balancer.configuration import KEY_FORM


def turn(cpu_us: float, events: list[int], balancer_us: float | None = None) -> dict[str, Any]:
    load = {"broken": 0, "statuses": {"202": 1}, "throttled_s": 0.0, "seconds": 1.0, "not_sent": 0}
    figures = dict.fromkeys(("events_per_s", "requests_per_s", "cpu_us_per_request", "cores", "p50_ms", "p99_ms"), 1.0)
    return {
        **figures,
        "cpu_us_per_event": cpu_us,
        "events_by_process": events,
        "balancer_cpu_us_per_request": balancer_us,
        "load": load,
    }


def judged(two: list[dict[str, Any]]) -> list[bool]:
    row = balanced_figures.row({"one": [turn(2.0, [100])] * 3, "two": two})
    return [one["is_reached"] for one in balanced_figures.verdicts([{"events_per_body": 100, **row}])]


@pytest.mark.parametrize(
    ("two", "expected"),
    [
        ([turn(2.2, [52, 48], 59), turn(2.1, [48, 52], 61), turn(9.0, [50, 50], 55)], [True, True, True]),
        ([turn(2.21, [50, 50], 20)], [False, True, True]),
        ([turn(2.0, [53, 47], 20)], [True, False, True]),
        ([turn(2.0, [50, 50], 60.5)], [True, True, False]),
        # A process that got nothing, and a balancer that was not measured, are no success.
        ([turn(2.0, [100, 0], None)], [True, False, False]),
    ],
)
def test_each_target_is_judged_by_itself(two: list[dict[str, Any]], expected: list[bool]) -> None:
    assert judged(two) == expected


def test_events_of_a_process_are_those_that_kafka_has_acknowledged() -> None:
    tally = IngestTally(10)
    tally.acknowledged(1_790_000_000_000, 7)
    tally.rejected(5)
    assert acknowledged_events(generate_latest(tally.registry).decode()) == 7


def test_the_balancer_may_repeat_what_the_benchmark_sends() -> None:
    assert re.fullmatch(KEY_FORM, repeatable(OURS).access.headers["Idempotency-Key"])
