"""The answer that is a stream of server-sent events.

These are a few lines of text, so that no package is needed for them. A package for Starlette has a queue and several
tasks for each client; here a client is one task and the newest state.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.connections import ABORT
from services.query.api.live.listener import Listener

# Says whether the caller may still listen.
MayStay = Callable[[], bool]
MEDIA = "text/event-stream"
HEADERS = {
    # A cache in between would keep the first event, and a proxy that packs or collects would hold back the others.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    # Whoever comes back after the end must come to another process.
    "Connection": "close",
}


class EventStream(Response):
    """What a listener hears. `leave` is called at the end, however it comes."""

    def __init__(self, listener: Listener, leave: Callable[[], None]) -> None:
        super().__init__(None, 200, HEADERS, MEDIA)
        del self.headers["content-length"]
        self._listener = listener
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client is gone."""
        listener = self._listener
        listener.drop = scope.get("state", {}).get(ABORT, listener.drop)
        gone = asyncio.create_task(_until_gone(receive, listener))

        async def send_body(body: bytes, *, more: bool) -> None:
            listener.sending_since_s = time.monotonic()
            await send({"type": "http.response.body", "body": body, "more_body": more})
            listener.sending_since_s, listener.heard_at_s = None, time.monotonic()

        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async for block in listener.blocks():
                    await send_body(block, more=True)
            await send_body(b"", more=False)
        finally:
            gone.cancel()
            self._leave()


async def _until_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end("the client is gone")
