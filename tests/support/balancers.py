"""A HAProxy of a test's own, with the product's configuration, and servers behind it that break as a test says."""

import asyncio
import contextlib
import re
import signal
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx2

from settings import Settings
from tests.support.waiting import eventually
from tools.balancer import Balancer, Door, Listed, Resolved, Times, configuration
from tools.stack.machine.haproxy import haproxy
from tools.stack.machine.ports import HOST, free_ports

STOP_S = 10.0
READY = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n"
# A stream of a stub.
PIECES = 10
PIECE_S = 0.3
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nwhy"
How = Literal["answer", "close", "reset", "half an answer", "503", "not ready", "stream"]


def program() -> str:
    """The program, which set-up has installed."""
    found = haproxy()
    assert found is not None, "haproxy is missing: run `make setup`"
    return str(found)


def check(text: str, folder: Path) -> str:
    """Let HAProxy read a configuration. Returns what it prints, which is nothing but that it is valid."""
    file = folder / "checked.cfg"
    file.write_text(text, encoding="utf-8")
    finished = subprocess.run([program(), "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


class Running:
    """A HAProxy that serves. `ingest` and `query` are the URLs of its doors.

    If `silent_s` is not None, it takes the place of all times after which a silent side has gone.
    """

    silent_s: int | None = None

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self._folder = folder
        self._ports = ports
        self.ingest, self.query, self.private = (
            f"http://{HOST}:{ports[name]}" for name in ("ingest", "query", "private")
        )
        self._log = folder / "haproxy.log"
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, ingest: Sequence[str], query: Sequence[str]) -> None:
        """Make the configuration for these processes."""
        balancer = Balancer(
            Door(f"{HOST}:{self._ports['ingest']}", None, Listed(ingest)),
            Door(f"{HOST}:{self._ports['query']}", None, Listed(query)),
            private=f"{HOST}:{self._ports['private']}",
            socket=self._folder / "admin.sock",
            threads=1,
        )
        text = configuration(balancer, Times.of(Settings()))
        if self.silent_s is not None:
            text = re.sub(r"timeout (client|server) \d+s", rf"timeout \1 {self.silent_s}s", text)
        (self._folder / "haproxy.cfg").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with self._log.open("wb") as log:
            command = [program(), "-W", "-f", str(self._folder / "haproxy.cfg")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        assert eventually(self._is_there, 20, 0.05), self.printed

    def reload(self) -> None:
        """Let a new process take the place of the old one, and wait until it has."""
        assert self._process is not None
        before = self._loaded
        self._process.send_signal(signal.SIGUSR2)
        assert eventually(lambda: self._loaded > before, 20, 0.05), self.printed

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)

    @property
    def printed(self) -> str:
        """Its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def _loaded(self) -> int:
        return self.printed.count("Loading success")

    def _is_there(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.printed
        try:
            return httpx2.get(f"{self.private}/healthz", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def figure(self, name: str, proxy: str) -> int:
        """The sum of a figure over the servers of a backend, as Prometheus reads it."""
        text = httpx2.get(f"{self.private}/metrics", trust_env=False).text
        found = re.findall(rf'^{name}{{proxy="{proxy}"[^}}]*}} (\d+)', text, re.MULTILINE)
        assert found, f"there is no {name} of {proxy}"
        return sum(map(int, found))

    def states(self, backend: str) -> dict[str, str]:
        """The state of each server of a backend, by its name."""
        text = httpx2.get(f"{self.private}/metrics", trust_env=False).text
        pattern = rf'^haproxy_server_status{{proxy="{backend}",server="([^"]+)",state="(\w+)"}} 1$'
        return dict(re.findall(pattern, text, re.MULTILINE))


@contextmanager
def balancer(
    folder: Path, ingest: Sequence[str], query: Sequence[str] = (f"{HOST}:9",), *, silent_s: int | None = None
) -> Iterator[Running]:
    """A HAProxy in front of these processes, until the context ends."""
    running = Running(folder, free_ports(("ingest", "query", "private")))
    running.silent_s = silent_s
    running.write(ingest, query)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def in_dns(folder: Path) -> Balancer:
    """What a cluster has: names that resolve to all processes, and TLS."""
    return Balancer(
        Door("*:8080", "*:8443", Resolved("ingest.view-counts.svc:8080")),
        Door("*:8090", "*:8493", Resolved("query.view-counts.svc:8090", 4)),
        private="*:8404",
        socket=folder / "admin.sock",
        certificate=folder / "both.pem",
    )


@dataclass
class Stub:
    """A server that is ready, and does with each request what `how` says. `seen` counts bodies, or first lines."""

    name: str
    address: str = ""
    how: How = "answer"
    seen: Counter[bytes] = field(default_factory=Counter)
    forwarded: list[bytes] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def go(self) -> None:
        """Listen no more, so that connections are refused."""
        assert self._server is not None
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._server.close)
        host, port = self.address.split(":")

        def refuses() -> bool:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
                return False
            return True

        assert eventually(refuses, 10, 0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /readyz"):
                    writer.write(NOT_READY if self.how == "not ready" else READY)
                    continue
                size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(size[1])) if size else head.split(b"\r\n")[0]
                self.seen[body] += 1
                self.forwarded += re.findall(rb"x-forwarded-for: ([^\r]+)", head, re.IGNORECASE)
                if self.how == "answer":
                    told = self.name.encode()
                    writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))
                    continue
                if self.how in ("503", "not ready"):
                    writer.write(NOT_READY)
                    continue
                if self.how == "stream":
                    await self._stream(writer)
                    continue
                if self.how == "reset":
                    # As from a process that was killed before it has read everything.
                    at_once = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                if self.how == "half an answer":
                    writer.write(b"HTTP/1.1 202 Acc")
                    await writer.drain()
                break
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """An answer that has no end for a while, with a piece now and then."""
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(PIECES):
            await asyncio.sleep(PIECE_S)
            writer.write(b"2\r\n:\n\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")


@contextmanager
def stubs(*names: str) -> Iterator[list[Stub]]:
    """Servers of these names, until the context ends. They have a thread of their own."""
    made = [Stub(name) for name in names]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        for one in made:
            asyncio.run_coroutine_threadsafe(one.start(), loop).result(10)
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
