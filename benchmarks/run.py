"""`make bench`: compares the throughput of the count job with Flink SQL and simple PyFlink, on the same events.

All contenders read from real Kafka. They run one after the other on one session cluster, with the parallelism, memory
and checkpoints of flink-conf/config.yaml. benchmarks.measuring.steady says what is measured and when, and
benchmarks.inputs.events what the events are. The speed of a machine changes over time and a cluster warms up, so runs
that are minutes apart are hardly comparable. Therefore the best of each kind except d run again in turns afterwards,
and the ratios are those of the medians of these runs.

    a  the count job to a sink that discards     c  Flink SQL to a sink that discards
    b  the count job to Cassandra                d  PyFlink, one event at a time, to a sink that discards
    e  the count job to Cassandra, with video metadata, and every changed count to Kafka
    f  as a, with bundles of 1 s in place of 250 ms, which may be as late as SQL's mini-batches
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.comparing.harness import Bench
from benchmarks.comparing.lineup import FULL, QUICK, Contender, chosen, contenders, limited, topics
from benchmarks.inputs.events import Stream
from benchmarks.measuring import report, results
from benchmarks.measuring.machine import describe
from benchmarks.measuring.progress import METRIC_OVERRIDES
from settings import Settings
from tools.stack import Stack, StackOptions
from tools.stack.flink import template

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")
TARGETS = {"a": 4.0, "b": 1.5, "f": 8.0}

console = Console()


def bench(
    *,
    only: Annotated[
        str, typer.Option(help="Contenders, by letter or beginning of the name, separated by commas.")
    ] = "a,b,e,f,c,d",
    sql: Annotated[str, typer.Option(help="How SQL deduplicates: window, ttl or both.")] = "window,ttl",
    quick: Annotated[
        bool, typer.Option(help="Fewer events and shorter runs. This is a smoke test without valid figures.")
    ] = False,
    turns: Annotated[
        int, typer.Option(help="How often the compared contenders run again. With 0 the first runs are compared.")
    ] = 3,
    events: Annotated[int | None, typer.Option(help="The maximum number of events for each contender.")] = None,
    home: Annotated[Path | None, typer.Option(help="The folder of the stack; by default a temporary folder.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Compare the contenders and print the results. The exit code is 1 if one did not run or counted wrongly."""
    scale = limited(QUICK if quick else FULL, events)
    selected = chosen(contenders(), only, sql)
    if not selected:
        raise typer.BadParameter(f"only={only}, sql={sql}: there is no such contender; try a, b, c, d, e or f")
    needed = {c.topic for c in selected} | {c.check_topic for c in selected if c.check_topic}
    by_name = {name: topic for name, topic in topics(scale).items() if name in needed}
    result: dict[str, Any] = {
        "benchmark": "throughput",
        "quick": quick,
        "machine": describe(),
        "flink": {k: template()[k] for k in report.FLINK_SETTINGS},
        "counting": Settings().counting.model_dump(),
        "contenders": [],
        "turns": [],
        "failed": {},
    }
    with tempfile.TemporaryDirectory(prefix="view-counts-bench-") as folder:
        options = StackOptions(
            home=home or Path(folder), ports="free", parts=PARTS, flink_overrides=METRIC_OVERRIDES, graceful_stop=False
        )
        with Stack(options) as stack:
            stream = Stream(stack.endpoints["kafka"], partitions=Settings().kafka.partitions)
            console.print(f"filling {', '.join(by_name)}")
            stream.fill(by_name.values())
            harness = Bench(stack, stream, by_name, scale)
            for contender in selected:
                _run(harness, contender, result, "contenders")
            compared = [c for c in selected if c.name in report.compared(result["contenders"])]
            for turn in range(1, turns + 1 if len(compared) > 1 else 1):
                for contender in compared:
                    _run(harness, contender, result, "turns", turn)
    result["ratios"] = report.ratios(result["contenders"], TARGETS, result["turns"])
    console.print(report.table(result["contenders"]))
    for text in report.verdicts(result["ratios"]):
        console.print(text, highlight=False)
    results.publish("throughput-quick" if quick else "throughput", result, is_kept=keep)
    if result["failed"]:
        raise typer.Exit(1)


def _run(harness: Bench, contender: Contender, result: dict[str, Any], where: str, turn: int = 0) -> None:
    try:
        line = harness.run(contender, turn)
    except RuntimeError as error:
        result["failed"][contender.name] = str(error)[:2000]
        console.print(f"[red]{contender.name} failed:[/red] {str(error)[:2000]}", highlight=False)
        return
    result[where].append(line)
    console.print(report.line(line), highlight=False)


if __name__ == "__main__":
    typer.run(bench)
