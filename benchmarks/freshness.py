"""`make freshness`: measures the time from ingest's acknowledgement of an event until the query service shows it.

Everything runs on this machine: the stack, the load and the probes. The load is sent over HTTP at a steady rate. Probes
are sent at fixed times, even if earlier ones are not visible yet, so that every probe during a stall measures it. Each
probe is an event of a video of its own, for which the query service is asked until the answer shows it. The first
minutes are left out, because the JVMs of Flink and Cassandra compile their code then, on the same two cores.
"""

import asyncio
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import results
from benchmarks.measuring.cpu import cpu_seconds
from benchmarks.measuring.machine import describe
from schemas.jobs import COUNT
from settings import Settings
from tools.demo.sources import HTTP_TIMEOUT_S
from tools.demo.traffic import DemoTraffic
from tools.stack import Stack, StackOptions
from tools.stack.flink import template

TARGET_P99_S = 3.0
PERCENTILES = (50, 90, 95, 99, 100)
BIN_S = 0.25
BAR_WIDTH = 50
# Polls load the machine that is measured, so they are not more frequent. On average every figure is too large by half
# of this.
POLL_S = 0.1
LOAD_SHARE_MIN = 0.98
FIRST_VISIBLE_S = 240.0
PATIENCE_S = 60.0
FLINK_SETTINGS = (
    "parallelism.default",
    "execution.checkpointing.interval",
    "python.fn-execution.bundle.size",
    "python.fn-execution.bundle.time",
)

console = Console()


class NeverVisibleError(RuntimeError):
    """A probe was not acknowledged, or was not visible in time after that."""


class Probes:
    """An async context manager that sends events and waits until they are counted."""

    def __init__(self, ingest_url: str, query_url: str) -> None:
        self._ingest = httpx2.AsyncClient(base_url=ingest_url, timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._query = httpx2.AsyncClient(base_url=query_url, timeout=HTTP_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> "Probes":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ingest.aclose()
        await self._query.aclose()

    async def one(self, patience_s: float = PATIENCE_S) -> float:
        """Send one event. Returns the seconds from acknowledged to visible. Raises NeverVisibleError."""
        video = f"probe-{uuid.uuid4().hex[:12]}"
        event = {"event_id": str(uuid.uuid4()), "video_id": video, "viewed_at": datetime.now(UTC).isoformat()}
        response = await self._ingest.post("/v1/events", json={"events": [event]})
        if response.status_code != httpx2.codes.ACCEPTED:
            raise NeverVisibleError(f"ingest answered {response.status_code} to a probe: {response.text[:200]}")
        acknowledged_at_s = time.monotonic()
        while (waited_s := time.monotonic() - acknowledged_at_s) < patience_s:
            answer = await self._query.get(f"/v1/videos/{video}/views")
            answer.raise_for_status()
            if answer.json()["views"] == 1:
                return time.monotonic() - acknowledged_at_s
            await asyncio.sleep(POLL_S)
        raise NeverVisibleError(f"a probe was not shown {waited_s:.0f} s after its acknowledgement")

    async def many(self, count: int, per_second: float) -> list[float]:
        """Send `count` events at fixed times. Returns the seconds of each."""
        begin_s = time.monotonic()

        async def at(number: int) -> float:
            await asyncio.sleep(begin_s + number / per_second - time.monotonic())
            return await self.one()

        return list(await asyncio.gather(*(at(number) for number in range(count))))


def distribution(samples_s: Sequence[float]) -> dict[str, float]:
    """Percentiles in seconds. Each is one of the measured values."""
    values = np.percentile(samples_s, PERCENTILES, method="inverted_cdf")
    return {("max" if p == 100 else f"p{p}"): round(float(v), 3) for p, v in zip(PERCENTILES, values, strict=True)}


def histogram(samples_s: Sequence[float]) -> Table:
    """A table with bars that show how many samples took how long."""
    bins = np.bincount((np.asarray(samples_s) / BIN_S).astype(int))
    table = Table(title="From acknowledged to visible", box=None)
    table.add_column("up to s", justify="right")
    table.add_column("probes", justify="right")
    table.add_column("")
    for place, number in enumerate(bins.tolist()):
        bar = "█" * round(BAR_WIDTH * number / bins.max())
        table.add_row(f"{(place + 1) * BIN_S:.2f}", str(number), bar)
    return table


async def measure(
    stack: Stack, load: DemoTraffic, probes_per_second: float, warm_up_s: float, seconds: float
) -> dict[str, Any]:
    """The figures of one run, while the load is being sent."""
    async with Probes(stack.endpoints["ingest"], stack.endpoints["query"]) as probes:
        first_s = await probes.one(FIRST_VISIBLE_S)
        console.print(f"counting: the first probe was visible after {first_s:.1f} s", highlight=False)
        await probes.many(int(warm_up_s * probes_per_second), probes_per_second)
        cpu_before, accepted, before_s = cpu_seconds(stack), load.accepted, time.monotonic()
        samples_s = await probes.many(int(seconds * probes_per_second), probes_per_second)
        cpu_after, elapsed_s = cpu_seconds(stack), time.monotonic() - before_s
    return {
        "probes": len(samples_s),
        "seconds": round(elapsed_s, 1),
        "accepted_events_per_s": round((load.accepted - accepted) / elapsed_s),
        "acknowledged_to_visible_s": distribution(samples_s),
        "samples_s": [round(sample, 3) for sample in samples_s],
        "cores_busy": {name: round((cpu_after[name] - cpu_before.get(name, 0.0)) / elapsed_s, 3) for name in cpu_after},
    }


def freshness(
    *,
    events_per_second: Annotated[int, typer.Option(min=1, help="The rate of the load.")] = 5000,
    probes_per_second: Annotated[float, typer.Option(min=0.1, help="The rate of probes.")] = 3.0,
    warm_up_s: Annotated[float, typer.Option(min=0, help="How long probes are sent before those that count.")] = 120.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long probes that count are sent.")] = 150.0,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure the freshness of the whole stack under load. The exit code is 1 if p99 is not below 3 s."""
    settings = Settings()
    result: dict[str, Any] = {
        "benchmark": "freshness",
        "events_per_second": events_per_second,
        "machine": describe(),
        "flink": {key: template()[key] for key in FLINK_SETTINGS},
        "counting": settings.counting.model_dump(),
        "ingest": {"linger_ms": settings.ingest.linger_ms},
    }
    with tempfile.TemporaryDirectory(prefix="view-counts-freshness-") as folder:
        options = StackOptions(home=Path(folder), ports="free", graceful_stop=False)
        with Stack(options) as stack:
            stack.flink_run(["-py", COUNT.file])
            stopping = threading.Event()
            load = DemoTraffic(stack.endpoints["ingest"], events_per_second, settings.counting.salts, stopping)
            load.start()
            try:
                result |= asyncio.run(measure(stack, load, probes_per_second, warm_up_s, seconds))
            finally:
                stopping.set()
                load.join()
            if load.trouble:
                raise NeverVisibleError(f"the load failed: {load.trouble}")
    found = result["acknowledged_to_visible_s"]
    # If the load was slower than asked for, the figures would be too good.
    is_loaded = result["accepted_events_per_s"] >= LOAD_SHARE_MIN * events_per_second
    result |= {"target_p99_s": TARGET_P99_S, "is_reached": is_loaded and found["p99"] < TARGET_P99_S}
    console.print(histogram(result["samples_s"]))
    told = ", ".join(f"{name} {value:.2f} s" for name, value in found.items())
    verdict = "reached" if result["is_reached"] else "NOT REACHED"
    console.print(
        f"{result['probes']} probes at {result['accepted_events_per_s']:,} events/s acknowledged: {told}; "
        f"target p99 below {TARGET_P99_S:g} s: {verdict}",
        highlight=False,
    )
    results.publish("freshness", result, is_kept=keep)
    if not result["is_reached"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(freshness)
