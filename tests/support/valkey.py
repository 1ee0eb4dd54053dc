"""A Redis server of a test's own, which the test may kill, on a free port."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from redis import Redis, RedisError

from tests.support.waiting import eventually
from tools.stack.machine.ports import HOST, free_ports
from tools.stack.machine.valkey import valkey_server

BACK_S = 20.0


class Server:
    """One server with its configuration. It is not running until `start`, and starts empty."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self.port = free_ports(["redis"])["redis"]
        # In a file, since others see the arguments of a process.
        self.configuration = folder / "valkey.conf"
        self.configuration.touch(mode=0o600)
        self.configuration.write_text("" if password is None else f"requirepass {password}\n", encoding="utf-8")
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers: anything but silence, since it may want a password."""
        options = ("--bind", HOST, "--port", str(self.port), "--dir", str(self._folder), "--save", "", *self._options)
        command = [str(valkey_server()), str(self.configuration), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        assert eventually(self._answers, BACK_S)

    def kill(self) -> None:
        """Kill the server, and wait until it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with contextlib.closing(Redis(HOST, self.port, socket_timeout=2)) as client:
            try:
                client.ping()
            except RedisError as error:
                return "NOAUTH" in str(error) or "Authentication" in str(error)
        return True


@contextlib.contextmanager
def running_valkey(folder: Path, *options: str, password: str | None = None) -> Iterator[Server]:
    """A server that runs, with these options of its command line; killed at the end."""
    server = Server(folder, *options, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
