"""Measures what a row costs Cassandra and the sink, by the shape of elements and CQL batches.

Run it by `python -m benchmarks.sink_writes`. Two writers, as with parallelism 2, write elements to one local node, for
some seconds with each shape. An element is what a shard sends: the same videos in consecutive minutes. CPU time is that
of Cassandra's process and of this one. The first shape also runs before all others and for longer, so that the JVM has
compiled its code before the measurement.
"""

import os
import tempfile
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.measuring import results
from benchmarks.measuring.cpu import cpu_s
from benchmarks.measuring.machine import describe
from connectors.cassandra import connect
from settings import CassandraSettings
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import HOST
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.sinks.cassandra_writer import CountWriter

WRITERS = 2
VIDEOS = 1250
ROWS_PER_MINUTE = 900
FIRST_MINUTE = 29_000_000
WARM_UP_S = 40.0
# (minutes in an element, rows in a CQL batch, CQL batches in flight of a writer)
SHAPES = ((5, 50, 16), (5, 200, 16), (20, 50, 16), (20, 200, 16), (20, 500, 16), (20, 200, 4))

console = Console()


def element(first_minute: int, minutes: int, seed: int) -> bytes:
    """The dated rows of one element."""
    random = np.random.default_rng(seed)
    names = [f"video-{number:07d}".encode() for number in range(VIDEOS)]
    return b"".join(
        dated_row(Cell(names[video], b"view", minute, int(views)))
        for minute in range(first_minute, first_minute + minutes)
        for video, views in zip(
            random.choice(VIDEOS, ROWS_PER_MINUTE, replace=False),
            random.integers(1, 1000, ROWS_PER_MINUTE),
            strict=True,
        )
    )


def measure(stack: Stack, shape: tuple[int, int, int], seconds: float) -> dict[str, Any]:
    """Write for `seconds`. Returns rows per second and CPU µs per row."""
    minutes, batch_rows, concurrency = shape
    settings = CassandraSettings(
        hosts=HOST, port=stack.ports["cassandra"], batch_rows_max=batch_rows, concurrency=concurrency
    )
    elements = [element(FIRST_MINUTE + turn * minutes, minutes, turn) for turn in range(max(2, 60 // minutes))]
    sessions = [connect(settings) for _ in range(WRITERS)]
    written = [0] * WRITERS
    pids = stack.pid("cassandra"), os.getpid()
    ends_at = time.monotonic() + seconds

    def write(number: int) -> None:
        writer = CountWriter(sessions[number], settings, "sink_writes", shards=1)
        for rows in cycle(elements[number::WRITERS]):
            if time.monotonic() > ends_at:
                return
            writer.counts(rows)
            written[number] += minutes * ROWS_PER_MINUTE

    began_at, before = time.monotonic(), [cpu_s(pid) for pid in pids]
    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - began_at
    cassandra_s, writers_s = (cpu_s(pid) - earlier for pid, earlier in zip(pids, before, strict=True))
    for session in sessions:
        session.cluster.shutdown()
    rows = sum(written)
    return {
        "minutes_per_element": minutes,
        "rows_per_batch": batch_rows,
        "batches_in_flight": concurrency,
        "rows_per_s": round(rows / took_s),
        "cassandra_cpu_us_per_row": round(cassandra_s / rows * 1e6, 1),
        "writer_cpu_us_per_row": round(writers_s / rows * 1e6, 1),
    }


def main(
    *,
    seconds: Annotated[float, typer.Option(help="How long to write with each shape.")] = 12.0,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure every shape in one run and print a line for each."""
    result: dict[str, Any] = {"benchmark": "sink-writes", "machine": describe(), "shapes": []}
    with tempfile.TemporaryDirectory(prefix="view-counts-bench-") as folder:
        options = StackOptions(home=Path(folder), ports="free", parts=("cassandra",), graceful_stop=False)
        with Stack(options) as stack:
            measure(stack, SHAPES[0], WARM_UP_S)
            for shape in SHAPES:
                line = measure(stack, shape, seconds)
                result["shapes"].append(line)
                console.print(", ".join(f"{name} {value:,}" for name, value in line.items()), highlight=False)
    results.publish("sink-writes", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
