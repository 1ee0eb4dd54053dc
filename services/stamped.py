"""Gives each request an id, and each answer that id and the header fields that every answer has."""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.request_ids import HEADER, request_id

# In the state of a request: its id.
REQUEST_ID = "request_id"
# A browser takes an answer for nothing but what it says it is, and tells no other site where it was.
SECURITY_FIELDS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Stamped:
    """An application whose answers say which request they are for. Lines of its log say so, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = stamp(scope)

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *fields]
            await send(message)

        await self._app(scope, receive, stamped)


def stamp(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    """Give a request its id, for its state and its lines of the log. Returns the header fields of its answer."""
    of_request = request_id(scope["headers"])
    scope.setdefault("state", {})[REQUEST_ID] = of_request
    # Each request is a task with variables of its own, so that none of another has this.
    structlog.contextvars.bind_contextvars(request_id=of_request.decode())
    return (HEADER, of_request), *SECURITY_FIELDS
