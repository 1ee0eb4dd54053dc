"""Measures how the cost of an event depends on ids, duplicates and videos: `python -m benchmarks.curves`.

It draws docs/curves.md. It runs only the counting rules, in batches of 2,000: dedup, partial counts and windows. Each
point runs in a process of its own, so that its memory can be measured. Events are made a million at a time before they
are judged.
"""

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.measuring import results
from benchmarks.measuring.charts import chart
from benchmarks.measuring.machine import describe
from settings import CountingSettings
from tools.load import Traffic, TrafficSource
from tools.load.encoding import records
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.window import ShardWindow
from udfs.logic.warm_up import warm_up

PAGE = Path(__file__).parents[1] / "docs" / "curves.md"
BATCH = 2000
MINUTE_MS = 60_000
# The start of a generation of 12 minutes.
START_MS = 1_699_999_920_000 // (12 * MINUTE_MS) * (12 * MINUTE_MS)
PART_EVENTS = 1_000_000
FLUSH_AFTER_RECORDS = 10
LIVE_IDS = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 60_000_000)
DUPLICATE_SHARES = (0.01, 0.05, 0.2, 0.5)
VIDEOS = (1_000, 10_000, 100_000, 1_000_000, 5_000_000)
MEASURED_EVENTS = 4_000_000
FLAT_WITHIN = 0.15
BYTES_MAX = 30.0

console = Console()


class Rules:
    """The two stages with all salts and shards in one process. `spent_ns` is their CPU time."""

    def __init__(self) -> None:
        self._rules = CountingSettings()
        self._dedups = [SaltDedup(salt, self._rules) for salt in range(self._rules.salts)]
        self._windows = [ShardWindow(self._rules) for _ in range(self._rules.shards)]
        self._waiting = [0] * self._rules.salts
        self.spent_ns = 0

    def judge(self, parts: Sequence[tuple[int, bytes]], append_ms: int) -> None:
        """Judge records (salt, value) with this append time, and add their counts to the windows."""
        before = time.process_time_ns()
        for salt, value in parts:
            dedup = self._dedups[salt]
            dedup.judge(value, append_ms, salt)
            self._waiting[salt] += 1
            if self._waiting[salt] == FLUSH_AFTER_RECORDS:
                self._waiting[salt] = 0
                for shard, element in dedup.flush().elements.items():
                    self._windows[shard].absorb(element)
        self.spent_ns += time.process_time_ns() - before

    def emit(self) -> None:
        """Let every shard send what changed, as it does in a job from time to time."""
        before = time.process_time_ns()
        for window in self._windows:
            window.emit()
        self.spent_ns += time.process_time_ns() - before


def parts(traffic: Traffic, events: int, append_ms: int) -> Iterator[list[tuple[int, bytes]]]:
    """Events as lists of records. Each million has a source of its own, to keep memory small, and so other ids."""
    made = 0
    seed = traffic.seed
    while made < events:
        source = TrafficSource(replace(traffic, seed=seed))
        seed += 1
        number = min(PART_EVENTS, events - made)
        block = source.block(number, append_ms)
        yield [(r.salt, r.value) for r in records(block, source.videos, events_per_batch=BATCH)]
        made += number


def plain(**changes: Any) -> Traffic:
    """Traffic of fresh events only, with these changes."""
    even: dict[str, Any] = {
        "duplicate_share": 0.0, "late_share": 0.0, "future_share": 0.0, "delayed_share": 0.0, "restamped_share": 0.0,
        "disorder_ms": 4 * MINUTE_MS, "zipf_exponent": 0.5,
    }  # fmt: skip
    return Traffic(**{**even, **changes})


def resident_mb() -> float:
    """The resident memory of this process in MiB, after it has returned what it can to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return psutil.Process().memory_info().rss / (1 << 20)


def point(traffic: Traffic, live_ids: int) -> dict[str, float]:
    """One point: CPU µs per event for the last events before `live_ids` are reached, and the memory then in MiB."""
    rules = Rules()
    before_mb = resident_mb()
    append_ms = START_MS + MINUTE_MS
    spent_before = 0
    judged = 0
    for part in parts(traffic, live_ids, append_ms):
        if judged <= live_ids - MEASURED_EVENTS or judged == 0:
            spent_before, judged_before = rules.spent_ns, judged
        rules.judge(part, append_ms)
        rules.emit()
        judged += PART_EVENTS
    del part
    return {
        "cpu_us_per_event": round((rules.spent_ns - spent_before) / (judged - judged_before) / 1000, 3),
        "resident_mb": round(resident_mb() - before_mb),
    }


def measured(traffic: Traffic, live_ids: int) -> dict[str, float]:
    """One point, measured in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), warm_up) as child:
        return child.submit(point, traffic, live_ids).result()


def page(curves: dict[str, list[tuple[str, dict[str, float]]]], verdicts: Sequence[str], machine: str) -> str:
    """The text of docs/curves.md."""
    names = {
        "live ids": "live ids, of the generation",
        "duplicates": "share of duplicates",
        "videos": "videos",
    }
    text = [
        "# What an event costs, against what there is more of\n",
        "Made by `python -m benchmarks.curves` from the counting rules alone, in batches of 2,000: CPU of dedup,",
        f"partial counts and windows in one process. On {machine}.\n",
        *(f"- {verdict}" for verdict in verdicts),
        "",
    ]
    for name, points in curves.items():
        text += [f"## Against {name}\n", chart("CPU µs an event", names[name], points, "cpu_us_per_event", "µs")]
        if name == "live ids":
            text.append(chart("Resident memory", names[name], points, "resident_mb", "MiB"))
        text += [f"| {names[name]} | CPU µs an event | resident MiB |", "|---|---|---|"]
        text += [f"| {x} | {one['cpu_us_per_event']} | {one['resident_mb']:,} |" for x, one in points]
        text.append("")
    return "\n".join(text)


def main(
    *,
    most_ids: Annotated[int, typer.Option(help="Leave out points with more live ids.", min=LIVE_IDS[1])] = LIVE_IDS[-1],
    keep: Annotated[bool, typer.Option(help="Keep the result, and draw the page.")] = True,
) -> None:
    """Measure every point, draw the page, and print which targets are reached."""
    curves: dict[str, list[tuple[str, dict[str, float]]]] = {"live ids": [], "duplicates": [], "videos": []}
    points = [
        *(("live ids", f"{ids // 1_000_000} M", plain(), ids) for ids in LIVE_IDS if ids <= most_ids),
        *(("duplicates", f"{share:.0%}", plain(duplicate_share=share), MEASURED_EVENTS) for share in DUPLICATE_SHARES),
        *(("videos", f"{videos:,}", plain(videos=videos), MEASURED_EVENTS) for videos in VIDEOS),
    ]
    for name, x, traffic, ids in points:
        found = measured(traffic, ids)
        console.print(f"{name} {x}: {found}", highlight=False)
        curves[name].append((x, found))
    verdicts = []
    for name, of_curve in curves.items():
        costs = [one["cpu_us_per_event"] for _, one in of_curve]
        rise = max(costs) / min(costs) - 1
        verdicts.append(
            f"Against {name} the cost differs by {rise:.0%}; target at most {FLAT_WITHIN:.0%}: "
            f"{'reached' if rise <= FLAT_WITHIN else 'not reached'}."
        )
    memory = [one["resident_mb"] for _, one in curves["live ids"]]
    counts = [count for count in LIVE_IDS if count <= most_ids]
    slope = (memory[-1] - memory[0]) * (1 << 20) / (counts[-1] - counts[0])
    verdicts.append(
        f"A live id takes {slope:.1f} bytes of resident memory; target at most {BYTES_MAX:.0f}: "
        f"{'reached' if slope <= BYTES_MAX else 'not reached'}."
    )
    for verdict in verdicts:
        console.print(verdict, highlight=False)
    machine = describe()
    if keep:
        PAGE.write_text(page(curves, verdicts, f"{machine['cores']} cores, {machine['cpu']}"))
    result = {"benchmark": "curves", "machine": machine, "curves": curves, "verdicts": verdicts}
    results.publish("curves", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
