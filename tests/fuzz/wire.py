"""Sends bytes to a service as a connection does, through uvicorn's real protocol, without a port.

So an application is given what its server lets through, and nothing else. But no door refuses requests while the
process is behind: on a busy machine it would.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from services.connections import DatedConnection
from services.server import Service
from settings.groups.serving import ServingSettings

ANSWER_S_MAX = 10
NO_BODY = frozenset({100, 204, 304})


class Answer(NamedTuple):
    """One answer. Names of headers are in lower case."""

    status: int
    headers: dict[str, list[str]]
    body: bytes


class _Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 80)})
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: Any) -> None:
        # As a real one does, whose packets would go nowhere.
        if not self.is_closed:
            self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


class _Errors(logging.Handler):
    """Keeps what a server logs of an application that failed: if the client is gone, no answer says so."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{record.getMessage()}{record.exc_info[1]!r}" if record.exc_info else record.getMessage())


class Wire:
    """One service, on the port for the public or the other one. Close it at the end."""

    def __init__(self, service: Service, serving: ServingSettings, *, is_private: bool) -> None:
        self._serving = serving
        app = service.private if is_private else service.served
        self._config = uvicorn.Config(
            app, http=DatedConnection, ws="none", lifespan="off", access_log=False, log_level="error"
        )
        self._config.load()
        self._runner = asyncio.Runner()
        self._errors = _Errors()
        logging.getLogger("uvicorn.error").addHandler(self._errors)
        # How many connections there were.
        self.count = 0

    def close(self) -> None:
        """End the loop."""
        self._runner.close()
        logging.getLogger("uvicorn.error").removeHandler(self._errors)

    def send(self, *chunks: bytes) -> list[Answer]:
        """The answers on a connection that carries these chunks and is then lost."""
        self.count += 1
        self._errors.found.clear()
        written = self._runner.run(self._send(chunks))
        assert self._errors.found == [], "the application failed"
        return _answers(written, is_head=b"".join(chunks).startswith(b"HEAD "))

    async def _send(self, chunks: Sequence[bytes]) -> bytes:
        state = ServerState()
        protocol = DatedConnection(self._config, state, {}, asyncio.get_running_loop(), serving=self._serving)
        transport = _Transport()
        protocol.connection_made(transport)
        for chunk in chunks:
            if transport.is_closed:
                break
            protocol.data_received(chunk)
            # Lets the application go on, as it would between two packets.
            await asyncio.sleep(0)
        await self._settled(state, protocol)
        protocol.connection_lost(None)
        if state.tasks:
            await asyncio.wait_for(asyncio.gather(*state.tasks), ANSWER_S_MAX)
        return bytes(transport.written)

    async def _settled(self, state: ServerState, protocol: DatedConnection) -> None:
        """Wait until every request is answered, or waits for bytes that will not come."""
        async with asyncio.timeout(ANSWER_S_MAX):
            while state.tasks and not (protocol.cycle is not None and protocol.cycle.more_body):
                await asyncio.wait(state.tasks, return_when=asyncio.FIRST_COMPLETED)
                # The next request of the connection begins when the one before has ended.
                await asyncio.sleep(0)


def _answers(written: bytes, *, is_head: bool) -> list[Answer]:
    found = []
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for one in lines:
            name, _, value = one.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        status = int(line.split(" ")[1])
        size = int(headers.get("content-length", ["0"])[0])
        # What is refused by the server itself has a body, even if the method was HEAD.
        if (is_head and (not rest or rest.startswith(b"HTTP/1."))) or status in NO_BODY:
            size = 0
        # Whatever follows the one request with HEAD is none.
        is_head = is_head and status < 200
        assert len(rest) >= size, "an answer is cut off"
        found.append(Answer(status, headers, rest[:size]))
        written = rest[size:]
    return found
