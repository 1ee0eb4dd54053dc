"""Ends Flink's jobs by its REST interface, which takes no JVM as `flink cancel` does."""

import urllib.request

from tools.stack import Stack
from tools.stack.machine.local_http import open_local

ANSWER_S = 60.0


def cancel(stack: Stack, job: str) -> None:
    """Cancel a job. It may take a moment until it has ended."""
    request = urllib.request.Request(f"{stack.endpoints['flink']}/jobs/{job}?mode=cancel", method="PATCH")
    with open_local(request, timeout_s=ANSWER_S):
        pass
