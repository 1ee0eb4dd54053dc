"""A drainer of a test's own, as a process."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tools.stack.layout import repository
from tools.stack.machine.ports import HOST, free_ports

STOP_S = 30.0


@contextmanager
def drainer(environment: Mapping[str, str], *, is_killed: bool = False) -> Iterator[str]:
    """The URL of the metrics of `python -m services.drain` with these variables, until the context ends or kills it."""
    (port,) = free_ports(("drain_private",)).values()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.drain"],
        cwd=repository(),
        env={**os.environ, **environment, "VIEW_COUNTS_DRAIN_PRIVATE_PORT": str(port)},
    )
    try:
        yield f"http://{HOST}:{port}/metrics"
        assert process.poll() is None, f"services.drain has ended with {process.returncode}"
    finally:
        if is_killed:
            process.kill()
        else:
            process.terminate()
        process.wait(STOP_S)
