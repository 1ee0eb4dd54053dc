"""Measures what the checkpoints of a running job cost."""

import time
from statistics import median
from typing import Any

from tools.stack import Stack

CHECKPOINTS = 3
POLL_S = 1.0


def cost(stack: Stack, job: str) -> dict[str, float]:
    """Medians of the next few checkpoints that complete: seconds, MiB written, and MiB of state."""

    def completed() -> list[dict[str, Any]]:
        answer = stack.flink_rest(f"/jobs/{job}/checkpoints") or {"history": []}
        return [one for one in answer["history"] if one["status"] == "COMPLETED"]

    newest = max((one["id"] for one in completed()), default=0)
    # The next checkpoint is left out, because it still has changes from before.
    while len(found := [one for one in completed() if one["id"] > newest + 1]) < CHECKPOINTS:
        time.sleep(POLL_S)
    return {
        "seconds": round(median(one["end_to_end_duration"] for one in found) / 1000, 3),
        "written_mb": round(median(one["checkpointed_size"] for one in found) / (1 << 20), 2),
        "state_mb": round(median(one["state_size"] for one in found) / (1 << 20), 1),
    }
