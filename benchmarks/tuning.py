"""Measures how settings change the count job's throughput: `python -m benchmarks.tuning`. It draws docs/knobs.md.

The job reads one topic to a discarding sink with the defaults, and then with one setting changed at a time. The speed
of a machine changes over time. So the defaults run again after every few runs, and each run is compared with the
defaults before and after it. Counts are not checked here: `make bench` does that.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from benchmarks.comparing.harness import Bench, ContenderError
from benchmarks.comparing.lineup import FULL, JOBS, Contender
from benchmarks.inputs.events import Stream, Topic, batches_topic
from benchmarks.measuring import report, results
from benchmarks.measuring.machine import describe
from benchmarks.measuring.progress import METRIC_OVERRIDES
from benchmarks.measuring.steady import TooShortError
from settings import Settings
from tools.stack import Stack, StackOptions

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")
PAGE = Path(__file__).parents[1] / "docs" / "knobs.md"
BATCH = 2000
LENGTH_S = 15.0
# The number of runs between two runs of the defaults.
TOGETHER = 3
COUNTING = "VIEW_COUNTS_COUNTING_"


class Turn(NamedTuple):
    """A change of one setting: environment variables, options of `flink run`, or both if they belong together."""

    knob: str
    value: str
    environment: Mapping[str, str] = {}
    options: Sequence[str] = ()


def _setting(name: str, value: int, **others: int) -> Turn:
    values = {COUNTING + name: str(value), **{COUNTING + other.upper(): str(of) for other, of in others.items()}}
    return Turn(COUNTING + name, f"{value:,}", values)


def _flink(key: str, value: str) -> Turn:
    return Turn(key, value, options=(f"-D{key}={value}",))


DEFAULTS = Turn("defaults", "")
TURNS = (
    _flink("python.fn-execution.bundle.time", "125"),
    _flink("python.fn-execution.bundle.time", "500"),
    _flink("python.fn-execution.bundle.time", "1000"),
    _flink("python.fn-execution.bundle.size", "100"),
    _flink("execution.checkpointing.interval", "1 s"),
    _flink("execution.checkpointing.interval", "30 s"),
    _flink("execution.buffer-timeout.interval", "100 ms"),
    # A job that catches up uses these two settings, and the topic of a benchmark is a backlog.
    _setting("CATCH_UP_FLUSH_INTERVAL_MS", 200),
    _setting("CATCH_UP_FLUSH_INTERVAL_MS", 5_000),
    _setting("CATCH_UP_EMIT_INTERVAL_MS", 2_000),
    _setting("CATCH_UP_EMIT_INTERVAL_MS", 60_000),
    _setting("RANK_INTERVAL_MS", 1_000),
    _setting("RANK_INTERVAL_MS", 30_000),
    # With a shorter lateness events of the benchmark would be late, which is less work than counting them.
    _setting("LATENESS_MS", 1_500_000, generation_ms=1_800_000),
    _setting("GENERATION_MS", 3_600_000),
    _setting("SHARDS", 4),
    _setting("SHARDS", 16),
    Turn("--parallelism", "1", options=("--parallelism", "1")),
    Turn("--parallelism", "4", options=("--parallelism", "4")),
)

console = Console()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables in the environment of this process, until the block ends."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def order(turns: Sequence[Turn]) -> list[Turn]:
    """The runs in their order, with the defaults first, after every few runs, and last."""
    found = [DEFAULTS]
    for at in range(0, len(turns), TOGETHER):
        found += [*turns[at : at + TOGETHER], DEFAULTS]
    return found


def compared(rates: Sequence[tuple[str, float]]) -> list[float | None]:
    """For each run (knob, events/s) its rate divided by the mean of the defaults before and after it.

    None for runs of the defaults.
    """
    at_defaults = [index for index, (knob, _) in enumerate(rates) if knob == DEFAULTS.knob]
    found: list[float | None] = []
    for index, (knob, rate) in enumerate(rates):
        if knob == DEFAULTS.knob:
            found.append(None)
            continue
        before = max(i for i in at_defaults if i < index)
        after = min(i for i in at_defaults if i > index)
        found.append(round(rate / mean((rates[before][1], rates[after][1])), 2))
    return found


def _measure(stack: Stack, stream: Stream, topic: Topic, turn: Turn) -> dict[str, Any]:
    contender = Contender(
        name=f"{turn.knob} {turn.value}".strip(),
        kind="a",
        title=f"count job to a discarding sink, {turn.knob} {turn.value}",
        topic=topic.name,
        arguments=(*turn.options, "-py", f"{JOBS}/count_job.py", "--sink", "discard"),
        events_per_batch=BATCH,
    )
    with environment(turn.environment):
        bench = Bench(stack, stream, {topic.name: topic}, replace(FULL, length_s=LENGTH_S))
        return bench.run(contender, 1, is_checked=False)


def draw(lines: Sequence[Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """The text of docs/knobs.md."""
    defaults = [one["steady"]["events_per_s"] for one in lines if one["knob"] == DEFAULTS.knob]
    rows = [
        f"| `{one['knob']}` | {one['value']} | {one['ratio']:.2f} | {one['steady']['events_per_s']:,} | "
        f"{one['steady']['cpu_s_per_million_all']:.2f} |"
        for one in lines
        if one["ratio"] is not None
    ]
    made = (
        f"Made by `python -m benchmarks.tuning`: the count job to a discarding sink, batches of {BATCH:,}, one knob "
        f"turned at a time; {machine['cores']} cores that carry the whole stack. A run is compared with those of the "
        f"defaults before and after it, which were between {min(defaults):,} and {max(defaults):,} events/s "
        "themselves: a ratio within that spread says that the knob does not matter. What else each of them does is "
        "in [tuning](tuning.md)."
    )
    head = (
        "| knob | value | throughput, defaults = 1 | events/s | CPU s per million events |",
        "|---|---|---|---|---|",
    )
    return "\n".join(("# What each knob does to throughput", "", made, "", *head, *rows, ""))


def main(
    *,
    events: Annotated[int, typer.Option(help="How many events each run reads.", min=1_000_000)] = 40_000_000,
    only: Annotated[str, typer.Option(help="Change only settings with this text in their name.")] = "",
    keep: Annotated[bool, typer.Option(help="Keep the result, and draw the page.")] = True,
) -> None:
    """Measure the throughput with each change, one after the other."""
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="view-counts-tuning-") as folder:
        options = StackOptions(
            home=Path(folder), ports="free", parts=PARTS, flink_overrides=METRIC_OVERRIDES, graceful_stop=False
        )
        with Stack(options) as stack:
            topic = batches_topic("batches", events, BATCH)
            stream = Stream(stack.endpoints["kafka"], partitions=Settings().kafka.partitions)
            stream.fill([topic])
            # The first run is not kept, because the JVMs have not compiled their code yet.
            _measure(stack, stream, topic, DEFAULTS)
            for turn in order([one for one in TURNS if only.upper() in one.knob.upper()]):
                try:
                    line = _measure(stack, stream, topic, turn)
                except (ContenderError, TooShortError) as error:
                    # One failed run does not end an hour of measuring, unless it is one of the defaults, with which
                    # the others are compared.
                    if turn is DEFAULTS:
                        raise
                    console.print(f"{turn.knob} {turn.value}: no figure, {error}", style="red", highlight=False)
                    continue
                console.print(report.line(line), highlight=False)
                lines.append(line | {"knob": turn.knob, "value": turn.value})
    ratios = compared([(one["knob"], one["steady"]["events_per_s"]) for one in lines])
    lines = [one | {"ratio": ratio} for one, ratio in zip(lines, ratios, strict=True)]
    machine = describe()
    page = draw(lines, machine)
    console.print(page, highlight=False)
    if keep:
        PAGE.write_text(page, encoding="utf-8")
    results.publish("tuning", {"benchmark": "tuning", "machine": machine, "runs": lines}, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
