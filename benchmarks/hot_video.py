"""Measures what a hot video costs: `python -m benchmarks.hot_video`.

There are two topics of events with the same videos in every minute. In one, each video has an equal share of events. In
the other, one video has nine tenths of them. The count job reads both in turns, at two parallelisms. It is also
measured how evenly the subtasks were busy.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.comparing.harness import Bench
from benchmarks.comparing.lineup import FULL, JOBS, Contender
from benchmarks.inputs.events import TRAFFIC, Stream, batches_topic
from benchmarks.measuring import report, results
from benchmarks.measuring.machine import describe
from benchmarks.measuring.progress import METRIC_OVERRIDES
from settings import Settings
from tools.stack import Stack, StackOptions

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")
BATCH = 2000
# There are so few videos that each has events in every minute of both topics, so both have the same number of cells.
VIDEOS = 1000
HOT_SHARE = 0.9
PARALLELISMS = (2, 4)
# If the numbers of cells differ by more than this, the loads are not comparable.
CELLS_DIFFER_MAX = 0.02
COST_MAX = 0.1
SPREAD_MAX = 0.1

console = Console()


def contender(load: str, parallelism: int) -> Contender:
    """The count job with a discarding sink, reading the topic of a load."""
    return Contender(
        name=f"{load}-p{parallelism}",
        kind="a",
        title=f"count job, {load} load, parallelism {parallelism}",
        topic=load,
        arguments=("-p", str(parallelism), "-py", f"{JOBS}/count_job.py", "--sink", "discard"),
        events_per_batch=BATCH,
    )


def spread(busy_ms: dict[str, list[int]], operator: str) -> float:
    """By which share the busiest subtask was busy longer than the least busy one."""
    (found,) = (times for name, times in busy_ms.items() if name.startswith(operator))
    return round(max(found) / min(found) - 1, 3)


def main(
    *,
    events: Annotated[int, typer.Option(help="How many events each load has.", min=1_000_000)] = 24_000_000,
    turns: Annotated[int, typer.Option(help="How often each runs.", min=1)] = 3,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Compare the loads, and print whether the targets are reached."""
    # All events have one kind, because rare kinds would have fewer cells in the hot load.
    even = replace(TRAFFIC, videos=VIDEOS, zipf_exponent=0.0, other_kinds_share=0.0)
    loads = {"even": even, "hot": replace(even, hot_share=HOT_SHARE)}
    lines: list[dict[str, Any]] = []
    cells: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="view-counts-hot-") as folder:
        options = StackOptions(
            home=Path(folder), ports="free", parts=PARTS, flink_overrides=METRIC_OVERRIDES, graceful_stop=False
        )
        with Stack(options) as stack:
            benches = {}
            for load, traffic in loads.items():
                topic = batches_topic(load, events, BATCH)
                kafka = stack.endpoints["kafka"]
                stream = Stream(kafka, partitions=Settings().kafka.partitions, traffic=traffic)
                stream.fill([topic])
                cells[load] = len(stream.truth(topic.filled))
                benches[load] = Bench(stack, stream, {load: topic}, FULL)
            if max(cells.values()) > min(cells.values()) * (1 + CELLS_DIFFER_MAX):
                raise RuntimeError(f"the loads have different numbers of cells, {cells}: take fewer videos")
            # The first run is not measured, because the JVMs have not compiled their code yet.
            benches["even"].run(contender("even", PARALLELISMS[0]), 0)
            for turn in range(1, turns + 1):
                for parallelism in PARALLELISMS:
                    for load, bench in benches.items():
                        line = bench.run(contender(load, parallelism), turn)
                        console.print(report.line(line), highlight=False)
                        lines.append(line | {"load": load, "parallelism": parallelism})
    figures: dict[str, Any] = {"cells": cells}
    for parallelism in PARALLELISMS:
        mine = {
            load: [one for one in lines if (one["load"], one["parallelism"]) == (load, parallelism)] for load in loads
        }
        rates = {load: median(one["steady"]["events_per_s"] for one in found) for load, found in mine.items()}
        figures[f"parallelism_{parallelism}"] = {
            "events_per_s": rates,
            "cost": round(1 - rates["hot"] / rates["even"], 3),
            "busy_spread": {
                operator: median(spread(one["busy_ms"], operator) for one in mine["hot"])
                for operator in ("dedup", "window")
            },
        }
    is_reached = all(
        of["cost"] <= COST_MAX and max(of["busy_spread"].values()) <= SPREAD_MAX
        for name, of in figures.items()
        if name.startswith("parallelism")
    )
    console.print(figures)
    console.print(
        f"targets: a hot video costs at most {COST_MAX:.0%}, busy times differ by at most {SPREAD_MAX:.0%}: "
        f"{'reached' if is_reached else 'NOT REACHED'}",
        highlight=False,
    )
    result = {"benchmark": "hot-video", "machine": describe(), **figures, "runs": lines, "is_reached": is_reached}
    results.publish("hot-video", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
