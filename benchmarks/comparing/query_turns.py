"""The turns of the benchmark of queries: which questions are asked of which service, at which rate, in which order.

Services take turns with each kind of question, and the whole list is repeated, so that what else the machine does meets
all alike. Each service gets questions of its own: otherwise the second would find in Cassandra's memory what the
first has asked for.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders.query_services import Service
from benchmarks.inputs.query_requests import Questions

# Questions of the closed loop. They are asked again and again, so there need not be one for each request.
CLOSED_QUESTIONS = 20_000
RESTART_S = 10.0
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Case:
    """One kind of question. Without a rate it is the closed loop.

    Targets are those of ours: a p99 in ms at this rate, answers a second, and how often those of each other service.
    """

    name: str
    title: str
    questions: Callable[[Questions, int], list[bytes]]
    rate: float = 0.0
    connections: int = 64
    is_warmed: bool = True
    is_restarted: bool = False
    needs_history: bool = False
    is_batch: bool = False
    p99_ms: float | None = None
    per_s: float | None = None
    times_others: float | None = None

    def seconds(self, seconds: float) -> float:
        """How long it is measured."""
        return RESTART_S if self.is_restarted else seconds

    def number(self, seconds: float) -> int:
        """How many questions are made for so many seconds."""
        return math.ceil(self.rate * seconds) if self.rate else CLOSED_QUESTIONS

    def targets(self) -> dict[str, float]:
        """Those of its targets that it has."""
        found = {"p99_ms": self.p99_ms, "per_s": self.per_s, "times_others": self.times_others}
        return {name: value for name, value in found.items() if value is not None}

    def described(self) -> dict[str, Any]:
        """The case as the first columns of a row."""
        return {"case": self.name, "title": self.title, "rate": self.rate or None, "connections": self.connections}


CASES: Sequence[Case] = (
    Case("hot_total", "hot total", Questions.hot_totals, rate=2000, p99_ms=5.0),
    Case("hot_total_closed", "hot total, saturation", Questions.hot_totals, per_s=4000.0, times_others=8.0),
    Case("mixed_total_closed", "total of any video, saturation", Questions.mixed_totals),
    Case("cold_total", "cold total", Questions.cold_totals, rate=100, is_warmed=False, p99_ms=30.0),
    Case("batch", "batchGet of 100", Questions.hot_batches, rate=20, is_batch=True, p99_ms=30.0),
    Case("cold_batch", "batchGet of 100, cold", Questions.cold_batches, rate=5, is_warmed=False, is_batch=True),
    Case("cold_hours", "30 days of hours, cold", Questions.cold_hours, rate=100, is_warmed=False, p99_ms=50.0),
    Case("hours", "30 days of hours", Questions.hours, rate=100, p99_ms=50.0),
    Case("cold_days", "a year of days, cold", Questions.cold_days, rate=100, is_warmed=False, p99_ms=20.0),
    Case("days", "a year of days", Questions.days, rate=100, p99_ms=20.0),
    Case(
        "old_hours",
        "30 days of old hours, first time",
        Questions.old_hours,
        rate=4,
        is_warmed=False,
        needs_history=True,
        p99_ms=500.0,
    ),
    Case(
        "old_hours_again",
        "30 days of old hours, again",
        Questions.old_hours_again,
        rate=100,
        needs_history=True,
        p99_ms=20.0,
    ),
    Case("restart", "hot total, after a restart", Questions.hot_totals, rate=2000, is_warmed=False, is_restarted=True),
    Case(
        "restart_closed",
        "hot total, after a restart, saturation",
        Questions.hot_totals,
        is_warmed=False,
        is_restarted=True,
    ),
)


def schedule(services: Sequence[Service], chosen: Sequence[Case], turns: int) -> Iterator[tuple[int, Case, Service]]:
    """(turn, case, service) in the order of measurement. Every second turn has the services in reverse."""
    for turn in range(turns):
        order = services if turn % 2 == 0 else services[::-1]
        for case in chosen:
            yield from ((turn, case, service) for service in order if service.has_history or not case.needs_history)
