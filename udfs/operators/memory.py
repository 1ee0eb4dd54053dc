"""The memory budget of an operator's subtask: where its files go, and its figures."""

import os
import tempfile
from pathlib import Path
from typing import Protocol

from pyflink.datastream import RuntimeContext

from settings import JobSettings
from udfs.logic.kernels.memory_budget import Budget

# Set by Flink for the worker: a folder of its own below io.tmp.dirs, which Flink removes at the worker's end.
_FLINKS_FOLDER = "BOOT_LOG_DIR"


class Holder(Protocol):
    """What has a budget."""

    @property
    def held_bytes(self) -> int:
        """In memory."""

    @property
    def spilled_bytes(self) -> int:
        """In files."""


def spill_folder(job: JobSettings) -> str:
    """Where files of what is beyond a budget go. OSError names the folder of the settings when it cannot be."""
    if job.spill_folder is not None:
        Path(job.spill_folder).mkdir(parents=True, exist_ok=True)
        return job.spill_folder
    folder = os.environ.get(_FLINKS_FOLDER, "")
    return folder if Path(folder).is_dir() and folder else tempfile.gettempdir()


def budget(runtime_context: RuntimeContext, most_bytes: int, job: JobSettings, *, group: str | None = None) -> Budget:
    """A budget of a subtask, with its gauges, in a group of the subtask's where it has more than one budget."""
    made = Budget(most_bytes, spill_folder(job))
    show(runtime_context, made, most_bytes, group=group)
    return made


def show(runtime_context: RuntimeContext, holder: Holder, most_bytes: int, *, group: str | None = None) -> None:
    """Gauges of the subtask: `held_bytes`, `budget_bytes`, `spilled_bytes`."""
    metrics = runtime_context.get_metrics_group()
    if group is not None:
        metrics = metrics.add_group(group)
    metrics.gauge("held_bytes", lambda: holder.held_bytes)
    metrics.gauge("budget_bytes", lambda: most_bytes)
    metrics.gauge("spilled_bytes", lambda: holder.spilled_bytes)
