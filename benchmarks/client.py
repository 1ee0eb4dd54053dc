"""Compares the Python client with a loop of requests and with PostHog's client: `python -m benchmarks.client`.

All send the same views to the same service, which fails for a share of requests. Of those that fail, a quarter were
taken before the connection was reset. The figures are the views that arrived, those that would count twice, and the CPU
time of the sender's process, with its start. Then it measures how many calls of `view` a second the client takes.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.view_senders import SENDERS
from benchmarks.measuring import results
from benchmarks.measuring.machine import describe
from view_counts_client import Client, Options

ROOT = Path(__file__).parents[1]
# Nobody listens there: what is viewed stays in the queue.
NOWHERE = "http://127.0.0.1:1"
# A request for each view takes long.
LOOP_SHARE = 10

console = Console()


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "clients" / "python")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_PROXY": "127.0.0.1"}


@contextmanager
def failing(share: float) -> Iterator[str]:
    """The URL of a service of its own process that fails for this share of requests."""
    command = [sys.executable, "-m", "benchmarks.peers.failing_ingest", str(share)]
    process = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def measure(name: str, count: int, share: float) -> dict[str, Any]:
    """What one sender does with so many views."""
    with failing(share) as url:
        command = [sys.executable, "-m", "benchmarks.contenders.view_senders", name, url, str(count)]
        done = subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True)
        cost = json.loads(done.stdout.splitlines()[-1])
        found = httpx2.get(f"{url}/counts", trust_env=False).json()
    return {
        "sender": name,
        "viewed": count,
        "lost": count - found["arrived"],
        **found,
        "s": round(cost["s"], 2),
        "cpu_us_per_view": round(cost["cpu_s"] * 1e6 / count, 1),
    }


def calls(rounds: int, count: int, viewer_id: str | None) -> dict[str, Any]:
    """The best of some rounds of so many calls of `view`, since others on the machine only slow them down."""
    options = Options(queue_events_max=count, queue_bytes_max=1 << 34, batch_events_max=count, flush_on_sigterm=False)
    best_s = best_cpu_s = float("inf")
    for _ in range(rounds):
        client = Client(NOWHERE, options=options)
        begun_s, cpu_s = time.perf_counter(), time.thread_time()
        for _ in range(count):
            client.view("video-1", viewer_id=viewer_id)
        best_s = min(best_s, time.perf_counter() - begun_s)
        best_cpu_s = min(best_cpu_s, time.thread_time() - cpu_s)
        client.close(0.0)
    return {
        "viewer_id": viewer_id is not None,
        "calls_per_s": round(count / best_s),
        "cpu_us_per_call": round(best_cpu_s * 1e6 / count, 2),
    }


def main(
    *,
    views: Annotated[int, typer.Option(help="Views of each sender; the loop sends a tenth.", min=100)] = 10_000,
    share: Annotated[float, typer.Option(help="Share of requests that fail.", min=0.0, max=0.9)] = 0.3,
    rounds: Annotated[int, typer.Option(help="Rounds of calls.", min=1)] = 5,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure all senders, one after the other."""
    table = Table("sender", "viewed", "arrived", "lost", "doubled", "repeats", "requests", "s", "CPU µs a view")
    rows = []
    for name in SENDERS:
        row = measure(name, views // LOOP_SHARE if name == "httpx2 loop" else views, share)
        rows.append(row)
        columns = ("sender", "viewed", "arrived", "lost", "doubled", "repeats", "requests", "s", "cpu_us_per_view")
        table.add_row(*(str(row[column]) for column in columns))
    console.print(table)
    # Nobody listens, which the client would say.
    logging.disable(logging.ERROR)
    taken = [calls(rounds, 200_000, viewer_id) for viewer_id in (None, "viewer-1")]
    for one in taken:
        console.print(f"{one}", highlight=False)
    result = {"benchmark": "client", "machine": describe(), "fail_share": share, "senders": rows, "calls": taken}
    results.publish("client", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
