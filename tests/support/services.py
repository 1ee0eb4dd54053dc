"""A service of a test's own: one process on a free port, for settings that the stack's process does not have."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.waiting import eventually
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST, free_ports

STOP_S = 30.0


@contextmanager
def service(
    name: str, environment: Mapping[str, str], *, log: Path | None = None, private_port: int | None = None
) -> Iterator[str]:
    """The URL of `python -m services.<name>` with these variables, which is ready until the context ends.

    What it prints goes into `log`, or to where the test's own output goes.
    """
    port, private = free_ports((name, f"{name}_private")).values()
    own = f"VIEW_COUNTS_{name.upper()}"
    output = None if log is None else log.open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", f"services.{name}"],
        stdout=output,
        stderr=output,
        cwd=repository(),
        env={
            **os.environ,
            **environment,
            f"{own}_PORT": str(port),
            f"{own}_PRIVATE_PORT": str(private_port or private),
            f"{own}_LEAVING_S": "0",
        },
    )
    url = f"http://{HOST}:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, f"services.{name} has ended with {process.returncode}"
        try:
            return httpx2.get(f"{url}/readyz", trust_env=False).status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    try:
        assert eventually(is_ready)
        yield url
    finally:
        process.terminate()
        process.wait(STOP_S)
        if output is not None:
            output.close()
