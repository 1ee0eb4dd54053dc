"""Waiting for what happens in its own time. The limit only ends a test that has failed; it decides nothing."""

import time
from collections.abc import Callable

# A job submitted on a busy two-core machine may take a minute to its first record.
PATIENCE_S = 240.0


def eventually(condition: Callable[[], bool], timeout_s: float = PATIENCE_S, poll_s: float = 0.25) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True
