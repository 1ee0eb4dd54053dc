"""How long a connection lives, and what it may take up: uvicorn bounds neither heads of requests nor their time.

A connection lives some minutes, so that balancers spread clients anew, and no longer than its process. uvicorn closes
idle connections by itself. Here a connection that is in use is closed after an answer that says so.
"""

import asyncio
import random
import time
import weakref
from asyncio import TimerHandle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.door import ADMITTED, REFUSED, Door, answer
from services.leaving import Life
from services.overload import Visitor
from settings.groups.serving import ServingSettings

# How old a connection becomes, as a share of what is usual, and since when it is there.
SHARE = "connection_share"
BORN_AT = "connection_born_at_s"
# In the state of a request: closes its connection at once, also if the client reads nothing.
ABORT = "connection_abort"
# In the state of a request: its whole body is there.
BODY_CAME = "connection_body_came"
JITTER = 0.1
# A hasty connection that was refused is not read for so long, give or take half. Those who send again at once would
# have as many refusals as the process can write, and all others would wait for these.
PAUSE_S = 0.05
# So many refusals of requests that came at once; with one more the connection ends.
REFUSALS_AT_ONCE_MAX = 16
# What a header field takes up beside its name and value: a colon, a space and the end of the line.
FIELD_BYTES = 4
CLOSE = (b"connection", b"close")


class DatedConnection(HttpToolsProtocol):
    """uvicorn's connection. Its requests know when it began, and what it may take up is bounded.

    While the process is behind, a `door` refuses requests that have a body before the application knows of them.
    """

    def __init__(self, *arguments: Any, serving: ServingSettings, door: Door | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        share = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it spreads load, and hides nothing
        self.app_state = {**self.app_state, BORN_AT: time.monotonic(), SHARE: share, ABORT: _aborts(self)}
        self._serving = serving
        self._door = door
        self._visitor = Visitor()
        # No head of a request is complete since the connection or the last request began. Bytes of it that came
        # before, and those of what came last.
        self._is_head_due = True
        self._head_bytes = self._came_bytes = 0
        self._is_behind_another = False
        # The request was refused at the door, and its body is thrown away.
        self._is_refused = False
        self._refusals_at_once = 0
        self._pause: TimerHandle | None = None
        self._is_over = False
        self._impatience: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._serving.connections_max:
            self._end(b"503 Service Unavailable", b"this process has too many connections; connect again soon\n")
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        if self._pause is not None:
            self._pause.cancel()
        # What waits behind another request of this connection never begins.
        for cycle, _ in self.pipeline:
            self._leave(cycle.scope)
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came. The connection ends if heads come too slowly, or are too large."""
        if self._is_over:
            return
        self._came_bytes = len(data)
        self._refusals_at_once = 0
        self._is_behind_another = False
        super().data_received(data)
        # While a request is under way, the application says how long its body may take.
        if not (self._is_head_due or self._is_refused or self._is_idle) or self._is_over or self.transport.is_closing():
            return
        if self._is_head_due:
            # What came may be the body of the request before, for the most part.
            self._head_bytes += self._parsed_bytes() if self._is_behind_another else len(data)
            if self._head_bytes > self._serving.head_bytes_max:
                self._end_large()
                return
        if self._impatience is None and self.timeout_keep_alive_task is None:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_behind_another = self.cycle is not None
        self._is_head_due, self._is_refused = True, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a field of the head. Those behind a body in chunks, which nothing bounds, are left out."""
        if self._is_head_due:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, unless it is refused."""
        if self._is_over:
            return
        bytes_max = self._serving.head_bytes_max
        if self._head_bytes + self._came_bytes > bytes_max and self._parsed_bytes() > bytes_max:
            self._end_large()
            return
        self._is_head_due, self._head_bytes = False, 0
        self._stop_waiting()
        door = self._door
        if door is not None and self.parser.get_method() == b"POST":
            now_s = time.monotonic()
            if door.overload.admits(self._visitor, now_s):
                self.scope["state"][ADMITTED] = True
            elif self._is_idle and not any(name == b"origin" for name, _ in self.headers):
                self._refuse(door, now_s)
                return
            else:
                # A page sees an answer only with the fields of CORS, which the application knows.
                self.scope["state"][REFUSED] = True
        try:
            super().on_headers_complete()
        except Exception:
            # The path cannot be read, so that the request never begins.
            self._leave(self.scope)
            raise

    def on_body(self, body: bytes) -> None:
        """Hand bytes of a body over."""
        if not (self._is_refused or self._is_over):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._is_over:
            return
        if not self._is_refused:
            self.scope["state"][BODY_CAME] = True
            super().on_message_complete()
            return
        self._is_refused = False
        self._stop_waiting()
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, door: Door, now_s: float) -> None:
        door.refused()
        self._refusals_at_once += 1
        # Whoever asks before the body is sent may never send it.
        is_closing = (
            self.expect_100_continue
            or not self.parser.should_keep_alive()
            or self._refusals_at_once > REFUSALS_AT_ONCE_MAX
        )
        self.transport.write(door.answer(is_closing=is_closing))
        self._is_refused = True
        if is_closing:
            self._is_over = True
            self.transport.close()
        elif self._visitor.is_hasty(now_s) and self._pause is None:
            self.flow.pause_reading()
            pause_s = PAUSE_S * random.uniform(0.5, 1.5)  # noqa: S311 - it spreads load, and hides nothing
            self._pause = self.loop.call_later(pause_s, self._read_on)

    def _read_on(self) -> None:
        self._pause = None
        if not self.transport.is_closing():
            self.flow.resume_reading()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _leave(self, scope: Mapping[str, Any]) -> None:
        if self._door is not None and ADMITTED in scope["state"]:
            self._door.overload.left()

    def _parsed_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + FIELD_BYTES for name, value in self.headers)

    def _end_large(self) -> None:
        bytes_max = self._serving.head_bytes_max
        self._end(
            b"431 Request Header Fields Too Large",
            b"the path and the header fields have more than %d bytes; send fewer or shorter ones\n" % bytes_max,
        )

    def _end(self, status: bytes, text: bytes) -> None:
        self._is_over = True
        self._stop_waiting()
        # In the middle of another answer, these bytes would be taken for a part of it.
        if self._is_idle:
            self.transport.write(answer(status, text, is_closing=True, is_soon=status.startswith(b"503")))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._impatience = self.loop.call_later(self._serving.head_timeout_s, self._waited)

    def _waited(self) -> None:
        self._impatience = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


def _aborts(connection: DatedConnection) -> Callable[[], None]:
    # Weak, so that a connection is forgotten as soon as it ends, and not when garbage is collected.
    of = weakref.ref(connection)

    def abort() -> None:
        found = of()
        if found is not None:
            found.transport.abort()

    return abort


def write_answer(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes | memoryview) -> bool:
    """Write a whole answer at once. Returns False if it must be sent in messages.

    That is so if `send` is not uvicorn's own, because somebody adds to the answer, or if the client reads too slowly.
    The answer must have its content-length, and nothing of the client in its headers: uvicorn looks for line breaks
    there, which costs more than packing an event. An answer to who is gone is dropped.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.flow.write_paused:
        return False
    if cycle.disconnected:
        return True
    lines = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        lines += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    cycle.transport.write(b"".join((*lines, b"\r\n", body)))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class ConnectionAge:
    """Closes connections that are older than `age_s`, give or take 10%, and all of them while the process leaves.

    The 10% differ from connection to connection. So connections that began together do not end together.
    """

    def __init__(self, app: ASGIApp, *, age_s: float, life: Life) -> None:
        self._app = app
        self._age_s = age_s
        self._life = life

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        state = scope.get("state", {})
        born_at_s = state.get(BORN_AT)
        is_ending = self._life.is_leaving or (
            born_at_s is not None and time.monotonic() - born_at_s > self._age_s * state[SHARE]
        )
        if scope["type"] != "http" or born_at_s is None or not is_ending:
            await self._app(scope, receive, send)
            return

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
            await send(message)

        await self._app(scope, receive, send_dated)
