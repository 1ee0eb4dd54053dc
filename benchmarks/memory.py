"""`python -m benchmarks.memory --minutes N`: what a worker holds while strangers send ids and videos never seen before.

One process stands for the job's only worker: every salt's dedup, and every shard's windows, each stage with its budget.
Time is the events' own, so that an hour of them takes minutes. Each minute of it is a line of JSON: the process's
proportional set size (PSS), what each stage holds, seconds of CPU, and `wrong`: by how much the verdicts and the counts
that were handed out differ from what was sent.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from typing import Annotated, Any

import mmh3
import numpy as np
import numpy.typing as npt
import psutil
import typer

from schemas import registry
from settings import CountingSettings, JobSettings
from settings.durations import MINUTE_MS
from udfs.logic.cells import unpack_dated_rows
from udfs.logic.dedup import SaltDedup, Verdict
from udfs.logic.memory_budget import Budget
from udfs.logic.window import ShardWindow
from udfs.operators.window import CELLS_RANKED_PER_MS

START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
STEP_MS = 1000
# Of each step's events, so many were there before, a minute ago at most.
REPEATED_SHARE = 0.05
MIB = 1 << 20


class Strangers:
    """Their events; `repeats` is how many of them were repeats so far."""

    def __init__(self, events_per_s: int, kinds: int) -> None:
        self._random = np.random.default_rng(5)
        self._fresh = int(events_per_s * STEP_MS / 1000 * (1 - REPEATED_SHARE))
        self._again = int(events_per_s * STEP_MS / 1000) - self._fresh
        self._kinds = kinds
        self._recent: list[tuple[npt.NDArray[np.uint8], int]] = []
        self.sent = self.repeats = 0

    def step(self, now_ms: int, salts: int) -> Iterator[tuple[int, bytes]]:
        """(salt, record) of a step. A video's name is its event's id."""
        ids = self._random.integers(0, 256, (self._fresh, 16), np.uint8)
        times = [now_ms] * len(ids)
        if self._recent:
            old, old_ms = self._recent[self._random.integers(len(self._recent))]
            ids = np.concatenate([ids, old[: self._again]])
            times += [old_ms] * self._again
            self.repeats += self._again
        self._recent = [*self._recent[-59:], (ids[: self._fresh], now_ms)]
        self.sent += len(ids)
        names = [row.tobytes() for row in ids]
        salt = np.array([mmh3.hash(name, 0, signed=False) % salts for name in names])
        for one in range(salts):
            events = [
                {
                    "event_id": names[i], "video_id": names[i].hex(), "kind": f"kind-{names[i][0] % self._kinds}",
                    "viewed_at": times[i], "viewer_id": None, "country": None,
                }
                for i in np.nonzero(salt == one)[0].tolist()
            ]  # fmt: skip
            head = {"batch_id": bytes(16), "producer_id": "", "salt": one, "salts": salts, "produced_at": now_ms}
            yield one, registry.encode("ViewBatch", {**head, "events": events})


class Worker:
    """Both stages, as the job's operators drive them."""

    def __init__(self, ids: Budget, cells: Budget) -> None:
        rules = CountingSettings()
        self.rules = rules
        self._dedups = [SaltDedup(salt, rules, budget=ids) for salt in range(rules.salts)]
        self._windows = [ShardWindow(rules, cells) for _ in range(rules.shards)]
        self._ranked_ms = [0] * rules.shards
        self.duplicates = self.counted = 0

    def record(self, salt: int, value: bytes, now_ms: int) -> None:
        """Judge a record, and hand its counts to their shards."""
        dedup = self._dedups[salt]
        outcome = dedup.record(value, now_ms, salt)
        if outcome.verdicts is not None:
            self.duplicates += int((outcome.verdicts == Verdict.DUPLICATE).sum())
        for shard, element in dedup.flush().elements.items():
            self._windows[shard].absorb(element)

    def turn(self, now_ms: int) -> None:
        """Emit; rank when that is due."""
        for shard, window in enumerate(self._windows):
            for rows in window.emit().counts:
                # No video has two events, so that every count is 1 and handed out once.
                self.counted += sum(cell.views for cell in unpack_dated_rows(rows))
            wait_ms = max(self.rules.rank_interval_ms, window.cells_to_rank // CELLS_RANKED_PER_MS)
            if now_ms - self._ranked_ms[shard] >= wait_ms:
                window.rank()
                self._ranked_ms[shard] = now_ms


def main(
    *,
    minutes: Annotated[int, typer.Option(help="Of the events' time.")] = 30,
    events_per_s: int = 5000,
    kinds: int = 4,
    ids_mib: Annotated[int, typer.Option(help="The budget of ids; the default setting when 0.")] = 0,
    cells_mib: Annotated[int, typer.Option(help="The budget of cells; the default setting when 0.")] = 0,
    folder: Annotated[str, typer.Option(help="Where files go.")] = tempfile.gettempdir(),
) -> None:
    """Print a line of JSON a minute."""
    job = JobSettings()
    ids = Budget(ids_mib * MIB or job.ids_bytes_max, folder)
    cells = Budget(cells_mib * MIB or job.cells_bytes_max, folder)
    worker, strangers, process = Worker(ids, cells), Strangers(events_per_s, kinds), psutil.Process()
    print(json.dumps(_line(0, worker, strangers, process, ids, cells)), flush=True)
    for minute in range(1, minutes + 1):
        for step in range(MINUTE_MS // STEP_MS):
            now_ms = START_MS + (minute - 1) * MINUTE_MS + step * STEP_MS
            for salt, value in strangers.step(now_ms, worker.rules.salts):
                worker.record(salt, value, now_ms)
            worker.turn(now_ms)
        print(json.dumps(_line(minute, worker, strangers, process, ids, cells)), flush=True)


def _line(
    minute: int, worker: Worker, strangers: Strangers, process: psutil.Process, ids: Budget, cells: Budget
) -> dict[str, Any]:
    memory = process.memory_full_info()
    wrong = abs(worker.duplicates - strangers.repeats) + abs(worker.counted - (strangers.sent - strangers.repeats))
    return {
        "minute": minute,
        "pss_mib": round(memory.pss / MIB, 1),
        "ids_mib": round(ids.held_bytes / MIB, 1),
        "ids_in_files_mib": round(ids.spilled_bytes / MIB, 1),
        "cells_mib": round(cells.held_bytes / MIB, 1),
        "cells_in_files_mib": round(cells.spilled_bytes / MIB, 1),
        "files_open": process.num_fds(),
        "cpu_s": round(time.process_time(), 1),
        "wrong": wrong,
    }


if __name__ == "__main__":
    typer.run(main)
