"""The memory budget of an operator's subtask: where its files are, and its metrics."""

import os
import tempfile
from pathlib import Path
from typing import Protocol

from pyflink.datastream import RuntimeContext

from settings import JobSettings
from udfs.logic.kernels.memory_budget import Budget

# Flink sets this variable to a folder for the worker, below io.tmp.dirs, and removes the folder when the worker ends.
_FLINKS_FOLDER = "BOOT_LOG_DIR"


class Holder(Protocol):
    """Anything that has a budget."""

    @property
    def held_bytes(self) -> int:
        """Its bytes in memory."""

    @property
    def spilled_bytes(self) -> int:
        """Its bytes in files."""


def spill_folder(job: JobSettings) -> str:
    """Return the folder for spilled tables. Raises OSError if the folder of the settings cannot be made."""
    if job.spill_folder is not None:
        Path(job.spill_folder).mkdir(parents=True, exist_ok=True)
        return job.spill_folder
    folder = os.environ.get(_FLINKS_FOLDER, "")
    return folder if Path(folder).is_dir() and folder else tempfile.gettempdir()


def budget(runtime_context: RuntimeContext, most_bytes: int, job: JobSettings, *, group: str | None = None) -> Budget:
    """Make a budget of a subtask, with its gauges. If the subtask has several budgets, `group` names their group."""
    made = Budget(most_bytes, spill_folder(job))
    show(runtime_context, made, most_bytes, group=group)
    return made


def show(runtime_context: RuntimeContext, holder: Holder, most_bytes: int, *, group: str | None = None) -> None:
    """Add the gauges `held_bytes`, `budget_bytes` and `spilled_bytes` to the subtask."""
    metrics = runtime_context.get_metrics_group()
    if group is not None:
        metrics = metrics.add_group(group)
    metrics.gauge("held_bytes", lambda: holder.held_bytes)
    metrics.gauge("budget_bytes", lambda: most_bytes)
    metrics.gauge("spilled_bytes", lambda: holder.spilled_bytes)
