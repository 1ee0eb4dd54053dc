"""Measures a worker's memory while all ids and videos are new: `python -m benchmarks.memory --minutes N`.

One process does the work of the job's only worker: dedup for every salt and windows for every shard, each stage with
its budget. By options some of the events are late, by up to six days, or half of the viewers are blocked. Time is that
of the events, so an hour of it takes minutes. For each minute it prints a line of JSON: the proportional set size (PSS)
of the process, how much of it is in no file, what each stage holds, seconds of CPU, and `wrong`, by how much verdicts
and counts differ from what was sent.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import mmh3
import numpy as np
import numpy.typing as npt
import psutil
import typer

from schemas import registry
from settings import CountingSettings, JobSettings
from settings.durations import DAY_MS, HOUR_MS, MINUTE_MS
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.minutes.cells import unpack_dated_rows
from udfs.logic.stream.block_list import BlockList, read_blocked
from udfs.logic.stream.dedup import SaltDedup, Verdict
from udfs.logic.stream.window import ShardWindow
from udfs.logic.wire.keyed_records import Keyed
from udfs.operators.window import CELLS_RANKED_PER_MS

START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
STEP_MS = 1000
# This share of each step's events are repeats of events that were sent at most a minute ago.
REPEATED_SHARE = 0.05
MIB = 1 << 20


class Strangers:
    """Makes events with new ids and videos. `repeats`, `late` and `blocked` are how many such events it has made."""

    def __init__(self, events_per_s: int, kinds: int, late_share: float, blocked: int) -> None:
        self._random = np.random.default_rng(5)
        self._late_share = late_share
        self._viewers = 2 * blocked
        self._fresh = int(events_per_s * STEP_MS / 1000 * (1 - REPEATED_SHARE))
        self._again = int(events_per_s * STEP_MS / 1000) - self._fresh
        self._kinds = kinds
        self._recent: list[tuple[npt.NDArray[np.uint8], int]] = []
        self.sent = self.repeats = self.late = self.blocked = 0

    def step(self, now_ms: int, salts: int) -> Iterator[tuple[int, bytes]]:
        """(salt, record) of the events of one step. The name of a video is the id of its event."""
        ids = self._random.integers(0, 256, (self._fresh, 16), np.uint8)
        times = [now_ms] * len(ids)
        late = self._random.random(len(ids)) < self._late_share
        for i in np.nonzero(late)[0].tolist():
            times[i] -= int(self._random.integers(HOUR_MS, 6 * DAY_MS))
        self.late += int(late.sum())
        # Half of the viewers, those with the lower numbers, are blocked.
        viewers = self._random.integers(0, self._viewers, len(ids)).tolist() if self._viewers else []
        self.blocked += sum(
            one < self._viewers // 2 and not is_late for one, is_late in zip(viewers, late, strict=False)
        )
        if self._recent:
            old, old_ms = self._recent[self._random.integers(len(self._recent))]
            ids = np.concatenate([ids, old[: self._again]])
            again = len(ids) - self._fresh
            times += [old_ms] * again
            self.repeats += again
        # Late events are not repeated, because a repeat of one is late again and no duplicate.
        in_time = ids[: self._fresh][~late]
        self._recent = [*self._recent[-59:], (in_time, now_ms)]
        self.sent += len(ids)
        names = [row.tobytes() for row in ids]
        salt = np.array([mmh3.hash(name, 0, signed=False) % salts for name in names])
        for one in range(salts):
            events = [
                {
                    "event_id": names[i], "video_id": names[i].hex(), "kind": self._kind(names[i]),
                    "viewed_at": times[i], "country": None,
                    "viewer_id": name_of(viewers[i]) if i < len(viewers) else None,
                }
                for i in np.nonzero(salt == one)[0].tolist()
            ]  # fmt: skip
            head = {"batch_id": bytes(16), "producer_id": "", "salt": one, "salts": salts, "produced_at": now_ms}
            yield one, registry.encode("ViewBatch", {**head, "events": events})

    def _kind(self, event_id: bytes) -> str:
        return f"kind-{int.from_bytes(event_id[:4]) % self._kinds}"


def name_of(viewer: int) -> str:
    """The viewer_id of a viewer. It has 36 characters, like a UUID."""
    return f"viewer-{viewer:029}"


class Worker:
    """Both stages, called as the job's operators call them."""

    def __init__(self, ids: Budget, cells: Budget, blocks: BlockList) -> None:
        rules = CountingSettings()
        self.rules = rules
        self._dedups = [SaltDedup(salt, rules, budget=ids) for salt in range(rules.salts)]
        self._windows = [ShardWindow(rules, cells) for _ in range(rules.shards)]
        self._ranked_ms = [0] * rules.shards
        self._blocks = blocks
        self.duplicates = self.counted = self.late = self.blocked = 0

    def record(self, salt: int, value: bytes, now_ms: int) -> None:
        """Judge a record, and add its counts to the windows of their shards."""
        dedup = self._dedups[salt]
        outcome = dedup.judge(value, now_ms, salt, self._blocks.table)
        self._blocks.let_go()
        if outcome.verdicts is not None:
            self.duplicates += int((outcome.verdicts == Verdict.DUPLICATE).sum())
            self.blocked += int((outcome.verdicts == Verdict.BLOCKED).sum())
        self.late += len(outcome.late)
        for shard, element in dedup.flush().elements.items():
            self._windows[shard].absorb(element)

    def turn(self, now_ms: int) -> None:
        """Send what changed, and rank when that is due."""
        for shard, window in enumerate(self._windows):
            for rows in window.emit().counts:
                # No video has two events, so every count is 1 and is sent once.
                self.counted += sum(cell.views for cell in unpack_dated_rows(rows))
            wait_ms = max(self.rules.rank_interval_ms, window.cells_to_rank // CELLS_RANKED_PER_MS)
            if now_ms - self._ranked_ms[shard] >= wait_ms:
                window.rank()
                self._ranked_ms[shard] = now_ms


def main(
    *,
    minutes: Annotated[int, typer.Option(help="How many minutes of the events' time to run.")] = 30,
    events_per_s: Annotated[int, typer.Option(help="Events in a second of their time.")] = 5000,
    kinds: Annotated[int, typer.Option(help="How many kinds the events have.")] = 4,
    ids_mib: Annotated[int, typer.Option(help="The budget of seen ids; 0 means the default setting.")] = 0,
    cells_mib: Annotated[int, typer.Option(help="The budget of cells; 0 means the default setting.")] = 0,
    blocked_mib: Annotated[int, typer.Option(help="The budget of the block list; 0 means the default setting.")] = 0,
    late_share: Annotated[float, typer.Option(help="The share of events that are late.", min=0, max=1)] = 0.0,
    blocked: Annotated[int, typer.Option(help="How many viewers are blocked for good.", min=0)] = 0,
    folder: Annotated[str, typer.Option(help="The folder for files.")] = tempfile.gettempdir(),
) -> None:
    """Print a line of JSON for each minute."""
    job = JobSettings()
    ids = Budget(ids_mib * MIB or job.ids_bytes_max, folder)
    cells = Budget(cells_mib * MIB or job.cells_bytes_max, folder)
    of_blocked = Budget(blocked_mib * MIB or job.blocked_bytes_max, folder)
    blocks = BlockList(of_blocked)
    for_good = _blocked_for_good()
    for viewer in range(blocked):
        blocks.put(name_of(viewer).encode(), for_good)
    worker = Worker(ids, cells, blocks)
    strangers, process = Strangers(events_per_s, kinds, late_share, blocked), psutil.Process()
    print(json.dumps(_line(0, worker, strangers, process, ids, cells, of_blocked)), flush=True)
    for minute in range(1, minutes + 1):
        for step in range(MINUTE_MS // STEP_MS):
            now_ms = START_MS + (minute - 1) * MINUTE_MS + step * STEP_MS
            for salt, value in strangers.step(now_ms, worker.rules.salts):
                worker.record(salt, value, now_ms)
            worker.turn(now_ms)
        print(json.dumps(_line(minute, worker, strangers, process, ids, cells, of_blocked)), flush=True)


def _blocked_for_good() -> bytes:
    """The part of a record of the block list that comes after the viewer: blocked for good."""
    periods = [{"effective_from": 0, "effective_until": None}]
    found = read_blocked(b"v", registry.encode("BlockedViewer", {"viewer_id": "v", "periods": periods}))
    assert isinstance(found, Keyed)
    assert found.rest is not None
    return found.rest


def _line(
    minute: int,
    worker: Worker,
    strangers: Strangers,
    process: psutil.Process,
    ids: Budget,
    cells: Budget,
    blocked: Budget,
) -> dict[str, Any]:
    memory = process.memory_full_info()
    # A blocked view is counted, too, as another kind.
    counted = strangers.sent - strangers.repeats - strangers.late
    differences = (
        worker.duplicates - strangers.repeats,
        worker.counted - counted,
        worker.late - strangers.late,
        worker.blocked - strangers.blocked,
    )
    return {
        "minute": minute,
        "pss_mib": round(memory.pss / MIB, 1),
        # The rest are pages of files: the system may take them back at any time.
        "pss_anonymous_mib": round(_pss_anonymous_bytes() / MIB, 1),
        "ids_mib": round(ids.held_bytes / MIB, 1),
        "ids_in_files_mib": round(ids.spilled_bytes / MIB, 1),
        "cells_mib": round(cells.held_bytes / MIB, 1),
        "cells_in_files_mib": round(cells.spilled_bytes / MIB, 1),
        "blocked_mib": round(blocked.held_bytes / MIB, 1),
        "blocked_in_files_mib": round(blocked.spilled_bytes / MIB, 1),
        "files_open": process.num_fds(),
        "cpu_s": round(time.process_time(), 1),
        "wrong": sum(map(abs, differences)),
    }


def _pss_anonymous_bytes() -> int:
    """Of this process, as Linux says (proc(5), smaps_rollup)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        name, *values = line.split()
        if name == "Pss_Anon:":
            return int(values[0]) << 10
    return 0


if __name__ == "__main__":
    typer.run(main)
