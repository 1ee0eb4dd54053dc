"""Measures what the counting rules cost in Python, without Flink: `python -m benchmarks.rules`.

One process judges the events of the throughput benchmark in batches of one size, salt by salt. It flushes a salt after
some of its records, as a job that catches up does, and adds up the partial counts in every shard, which sends and
closes as minutes pass. It measures the CPU time of each stage in this process. The first part of the events is left
out, because tables are still small then.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from benchmarks.comparing.lineup import BATCHES
from benchmarks.inputs.events import BLOCK_EVENTS_PER_SALT, EVENTS_PER_MINUTE, MINUTE_MS, TRAFFIC
from benchmarks.measuring import results
from benchmarks.measuring.machine import describe
from settings import CountingSettings
from tools.load import TrafficSource
from tools.load.encoding import records
from udfs.logic.minutes import partials
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.window import ShardWindow

FLUSH_AFTER_RECORDS = 10
START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
WARM_UP_SHARE = 0.25
# This is about 15 s of a backlog that is read at 300,000 events/s.
EMIT_AFTER_BLOCKS = 150
# CPU µs per event in dedup and partial counts, and per row of partial counts in the windows.
TARGETS = {"dedup_and_partial": 0.5, "window": 1.0}

console = Console()
T = TypeVar("T")


class Meter:
    """Measures CPU time in ns, by stage."""

    def __init__(self) -> None:
        self.spent_ns: Counter[str] = Counter()

    def run(self, stage: str, call: Callable[[], T]) -> T:
        """Call a function, add its CPU time to the stage, and return its result."""
        before = time.process_time_ns()
        found = call()
        self.spent_ns[stage] += time.process_time_ns() - before
        return found


def measure(events: int, events_per_batch: int) -> dict[str, Any]:
    """The figures for one size of batch."""
    rules = CountingSettings()
    source = TrafficSource(TRAFFIC)
    dedups = [SaltDedup(salt, rules) for salt in range(rules.salts)]
    windows = [ShardWindow(rules) for _ in range(rules.shards)]
    block_events = BLOCK_EVENTS_PER_SALT * rules.salts
    waiting: Counter[int] = Counter()
    meter = Meter()
    sent = judged = rows = elements = 0
    warm_after = int(events * WARM_UP_SHARE)
    while sent < events:
        sent += block_events
        if warm_after and sent > warm_after:
            warm_after = judged = rows = elements = 0
            meter = Meter()
        now_ms = START_MS + sent * MINUTE_MS // EVENTS_PER_MINUTE
        for record in records(source.block(block_events, now_ms), source.videos, events_per_batch=events_per_batch):
            dedup = dedups[record.salt]
            meter.run("dedup", partial(_judge, dedup, record.value, now_ms))
            judged += record.events
            waiting[record.salt] += 1
            if waiting[record.salt] < FLUSH_AFTER_RECORDS:
                continue
            waiting[record.salt] = 0
            for shard, element in meter.run("flush", dedup.flush).elements.items():
                rows += _rows_in(element)
                elements += 1
                meter.run("window", partial(_absorb, windows[shard], element))
        if sent % (EMIT_AFTER_BLOCKS * block_events) == 0:
            for window in windows:
                meter.run("emit", window.emit)
    dedup_us, window_us = meter.spent_ns["dedup"] + meter.spent_ns["flush"], meter.spent_ns["window"]
    return {
        "events_per_batch": events_per_batch,
        "events": judged,
        "partial_rows": rows,
        "partial_elements": elements,
        "cpu_us_per_event": {s: round(ns / judged / 1000, 4) for s, ns in meter.spent_ns.items()},
        "dedup_and_partial_us_per_event": round(dedup_us / judged / 1000, 3),
        "window_us_per_partial_row": round(window_us / rows / 1000, 3),
    }


def _judge(dedup: SaltDedup, value: bytes, now_ms: int) -> bytes:
    dedup.judge(value, now_ms, dedup.salt)
    return dedup.header()


def _absorb(window: ShardWindow, element: bytes) -> bytes:
    window.absorb(element)
    return window.header() if window.has_work else b""


def _rows_in(element: bytes) -> int:
    found = 0
    for rows in partials.decode(element).rows_by_minute.values():
        at = 0
        while at < len(rows):
            at += 5 + int(rows[at])
            found += 1
    return found


def main(
    *,
    events: Annotated[int, typer.Option(help="How many events to judge with each size of batch.")] = 8_000_000,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure every size of batch."""
    result: dict[str, Any] = {"benchmark": "rules", "machine": describe(), "targets": TARGETS, "sizes": []}
    for size in BATCHES:
        found = measure(events, size)
        result["sizes"].append(found)
        console.print(
            f"batches of {size}: {found['dedup_and_partial_us_per_event']} CPU µs an event in dedup and "
            f"partial counts, {found['window_us_per_partial_row']} a partial row in the windows; "
            f"{found['cpu_us_per_event']}",
            highlight=False,
        )
    results.publish("rules", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
