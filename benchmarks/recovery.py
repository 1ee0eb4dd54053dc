"""Measures recovery after a kill and the cost of checkpoints, by live ids: `python -m benchmarks.recovery`.

The whole stack counts, and the number of seen ids grows in steps. At each step a few checkpoints are measured. At the
step that the target names, the TaskManager is killed together with its Python workers, and a probe over HTTP measures
when an event that is sent right afterwards is visible. The benchmark draws docs/checkpoints.md.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.freshness import Probes
from benchmarks.measuring import checkpoints, results
from benchmarks.measuring.charts import chart
from benchmarks.measuring.machine import describe
from connectors.cassandra import connect
from schemas.jobs import COUNT
from settings import CassandraSettings, Settings
from tools.load import KafkaSender, Traffic, TrafficSource
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import HOST

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"
STEPS = (100_000, 1_000_000, 3_000_000, 10_000_000, 20_000_000)
KILLED_AT = 10_000_000
KILLS = 3
TARGETS = {"submitted_to_counted_s": 20.0, "killed_to_counting_s": 30.0}
BATCH = 2000
BLOCK_EVENTS = 31_000
PATIENCE_S = 180.0

console = Console()


class Loader:
    """Sends fresh events directly to the events topic."""

    def __init__(self, stack: Stack) -> None:
        settings = Settings()
        self._salts = settings.counting.salts
        self._sender = KafkaSender(
            stack.endpoints["kafka"],
            settings.kafka.events_topic,
            partitions=settings.kafka.partitions,
            salts=self._salts,
        )
        self.sent = 0
        self._seed = 1

    def until(self, ids: int) -> None:
        """Send events until `ids` ids have been sent in total."""
        while self.sent < ids:
            # Each million has a source of its own, because a source keeps all of its events.
            traffic = Traffic(
                seed=self._seed, duplicate_share=0.0, late_share=0.0, future_share=0.0, delayed_share=0.0,
                restamped_share=0.0,
            )  # fmt: skip
            self._seed += 1
            source = TrafficSource(traffic)
            upto = min(ids, self.sent + 1_000_000)
            while self.sent < upto:
                block = source.block(min(BLOCK_EVENTS, upto - self.sent), time.time_ns() // 1_000_000)
                self._sender.send_block(block, source.videos, events_per_batch=BATCH)
                self.sent += len(block)
        self._sender.flush()


class Observer:
    """Reads the ledger and the checkpoints."""

    def __init__(self, stack: Stack, job: str) -> None:
        self._stack = stack
        self._job = job
        self._session: Any = connect(CassandraSettings(hosts=HOST, port=stack.ports["cassandra"]))

    def counted(self) -> int:
        """The number of counted events in the ledger."""
        return sum(row.counted for row in self._session.execute("SELECT counted FROM ledger"))

    def settled(self, ids: int) -> dict[str, float]:
        """Wait until `ids` events are counted. Returns what the next few checkpoints cost, as medians."""
        deadline = time.monotonic() + PATIENCE_S
        while self.counted() < ids:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.counted()} of {ids} events counted within {PATIENCE_S:.0f} s")
            time.sleep(1)
        return checkpoints.cost(self._stack, self._job)

    def close(self) -> None:
        """Close the session."""
        self._session.cluster.shutdown()


async def probe(stack: Stack) -> float:
    """Send an event. Returns the seconds until it is visible."""
    async with Probes(stack.endpoints["ingest"], stack.endpoints["query"]) as probes:
        began_s = time.monotonic()
        await probes.one(PATIENCE_S)
        return round(time.monotonic() - began_s, 1)


def measure(stack: Stack, most: int) -> dict[str, Any]:
    """All figures of the benchmark."""
    loader = Loader(stack)
    submitted_s = time.monotonic()
    job = stack.flink_run(["-py", COUNT.file])
    asyncio.run(probe(stack))
    figures: dict[str, Any] = {"submitted_to_counted_s": round(time.monotonic() - submitted_s, 1), "steps": {}}
    console.print(f"first event counted {figures['submitted_to_counted_s']} s after submission", highlight=False)
    observer = Observer(stack, job)
    try:
        for ids in (step for step in STEPS if step <= most):
            loader.until(ids)
            figures["steps"][ids] = observer.settled(ids)
            console.print(f"{ids:,} live ids: {figures['steps'][ids]}", highlight=False)
            if ids == KILLED_AT:
                figures["killed_to_counting_s"] = []
                for _ in range(KILLS):
                    stack.kill("taskmanager")
                    figures["killed_to_counting_s"].append(asyncio.run(probe(stack)))
                    # The next kill waits for some checkpoints, so that it does not come during the replay after this
                    # one.
                    observer.settled(ids)
                console.print(f"killed, counting again after {figures['killed_to_counting_s']} s", highlight=False)
    finally:
        observer.close()
    return figures


def page(figures: dict[str, Any], verdicts: list[str], machine: str) -> str:
    """The text of docs/checkpoints.md."""
    points = [(f"{ids / 1e6:g} M", step) for ids, step in figures["steps"].items()]
    rows = [f"| {x} | {step['seconds']} | {step['written_mb']} | {step['state_mb']} |" for x, step in points]
    return "\n".join(
        [
            "# Checkpoints and recovery, against live ids\n",
            "Made by `python -m benchmarks.recovery`: the whole stack on this machine, checkpoints every 5 s to its",
            f"S3, incremental, RocksDB; the load has ended when they are looked at. On {machine}.\n",
            *(f"- {verdict}" for verdict in verdicts),
            "",
            chart("One checkpoint", "live ids", points, "seconds", "s"),
            chart("The whole state", "live ids", points, "state_mb", "MiB"),
            "| live ids | seconds | written by one, MiB | state, MiB |\n|---|---|---|---|",
            *rows,
            "",
            "A checkpoint writes what is new since the last one: RocksDB's files are immutable and are uploaded once.",
            "An id is 16 bytes in state, stored in the order in which ids came, one write a batch, and dropped a",
            "generation at a time. After a kill the state is fetched from S3, and each salt reads its chunks with its",
            "first record.",
            "",
        ]
    )


def main(
    *,
    most: Annotated[int, typer.Option(help="Leave out steps with more live ids.")] = STEPS[-1],
    keep: Annotated[bool, typer.Option(help="Keep the result, and draw the page.")] = True,
) -> None:
    """Measure, draw the page, and print whether the targets are reached."""
    with (
        tempfile.TemporaryDirectory(prefix="view-counts-recovery-") as folder,
        Stack(StackOptions(home=Path(folder), ports="free", graceful_stop=False)) as stack,
    ):
        figures = measure(stack, most)
    reached = {"submitted_to_counted_s": figures["submitted_to_counted_s"]}
    if "killed_to_counting_s" in figures:
        reached["killed_to_counting_s"] = float(np.max(figures["killed_to_counting_s"]))
    verdicts = [
        f"{name.removesuffix('_s').replace('_', ' ')}: {value} s at most; target below {TARGETS[name]:.0f} s: "
        f"{'reached' if value < TARGETS[name] else 'not reached'}."
        for name, value in reached.items()
    ]
    for verdict in verdicts:
        console.print(verdict, highlight=False)
    machine = describe()
    if keep:
        PAGE.write_text(page(figures, verdicts, f"{machine['cores']} cores, {machine['cpu']}"))
    results.publish(
        "recovery", {"benchmark": "recovery", "machine": machine, **figures, "verdicts": verdicts}, is_kept=keep
    )


if __name__ == "__main__":
    typer.run(main)
