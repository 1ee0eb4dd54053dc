"""How long a connection lives: some minutes, so that balancers spread clients anew, and no longer than its process.

uvicorn closes idle connections by itself. Here a connection that is in use is closed after an answer that says so.
"""

import random
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.leaving import Life

# How old a connection becomes, as a share of what is usual, and since when it is there.
SHARE = "connection_share"
BORN_AT = "connection_born_at_s"
JITTER = 0.1
CLOSE = (b"connection", b"close")


class DatedConnection(HttpToolsProtocol):
    """uvicorn's connection. Its requests know when it began."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        share = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it spreads load, and hides nothing
        self.app_state = {**self.app_state, BORN_AT: time.monotonic(), SHARE: share}


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
