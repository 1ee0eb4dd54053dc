"""Ends Flink's jobs by its REST interface, which takes no JVM as `flink cancel` does."""

import urllib.request

from tests.support.waiting import eventually
from tools.stack import Stack
from tools.stack.machine.local_http import open_local

ANSWER_S = 60.0


def cancel(stack: Stack, job: str) -> None:
    """Cancel a job. It may take a moment until it has ended."""
    request = urllib.request.Request(f"{stack.endpoints['flink']}/jobs/{job}?mode=cancel", method="PATCH")
    with open_local(request, timeout_s=ANSWER_S):
        pass


def cancel_all(stack: Stack) -> None:
    """Cancel every job that has not ended."""
    for job in stack.unfinished_jobs():
        cancel(stack, job)


def await_no_job(stack: Stack) -> None:
    """Wait until every job has ended, those included that were cancelled a moment ago."""
    assert eventually(lambda: not stack.unfinished_jobs()), stack.unfinished_jobs()
