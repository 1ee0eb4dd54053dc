"""The door of a service: what its connections are refused before a request of them becomes one of the application.

The rules are those of services.overload and of the settings. Knows bytes of HTTP, and no library of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from services.loop_turns import Turns
from services.overload import Overload
from services.refused import RETRY_AFTER_S

# In the state of a request: the rule has let it in and waits to hear that it begins, or has refused it.
ADMITTED = "overload_admitted"
REFUSED = "overload_refused"
BEHIND = "this process has more requests than it can begin soon; send this again, with the same ids, after the wait"


@dataclass(frozen=True, slots=True)
class Door:
    """How a service refuses requests with a body while it is behind, and begins the others in turn.

    `refused` is called for each that is refused, and `body` is the JSON of the answer.
    """

    overload: Overload
    turns: Turns
    body: bytes
    refused: Callable[[], None]

    def answer(self, *, is_closing: bool) -> bytes:
        """The whole answer."""
        return answer(
            b"503 Service Unavailable", self.body, media=b"application/json", is_closing=is_closing, is_soon=True
        )


class Begins:
    """Begins each request that was let in when it is its turn, and tells the rule."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if ADMITTED in scope.get("state", ()):
            await self._door.turns.begin()
            self._door.overload.begun()
        await self._app(scope, receive, send)


def answer(
    status: bytes, body: bytes, *, media: bytes = b"text/plain; charset=utf-8", is_closing: bool, is_soon: bool = False
) -> bytes:
    """An answer of HTTP/1.1. With `is_soon`, it asks to come back."""
    retry = b"retry-after: %d\r\n" % RETRY_AFTER_S if is_soon else b""
    close = b"connection: close\r\n" if is_closing else b""
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (status, media, len(body))
    return b"%b%b%b\r\n%b" % (head, retry, close, body)
