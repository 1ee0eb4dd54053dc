"""Takes most requests with events past Starlette, whose middleware and routing cost as much as the events do.

Its answers are those of the application behind it, which has the same endpoint: a test compares the two. Only an error
that nobody foresaw is answered by uvicorn, which also closes the connection.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.ingest.routes import EVENTS

# What the middleware of CORS adds to each answer.
VARY = (b"vary", b"Origin")


class ShortWay:
    """An ASGI application that gives POST /v1/events to its endpoint, and all else to `app`.

    So it does with requests that have an Origin: what pages of other sites may read is for the middleware of CORS.
    """

    def __init__(self, app: ASGIApp, post_events: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._post_events = post_events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http" and scope["path"] == EVENTS.path and scope["method"] == EVENTS.method:
            request = _Request(scope, receive)
            if "origin" not in request.headers:
                response = await self._post_events(request)
                response.raw_headers.append(VARY)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Fields(Headers):
    """Header fields that are decoded once. Starlette's are looked for again each time."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._values: dict[str, list[str]] = {}
        for name, value in raw:
            self._values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))

    def getlist(self, key: str) -> list[str]:
        return self._values.get(key.lower(), [])

    def get(self, key: str, default: Any = None) -> Any:
        values = self._values.get(key.lower())
        return default if values is None else values[0]

    def __getitem__(self, key: str) -> str:
        return self._values[key.lower()][0]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._values


class _Request(Request):
    """Starlette's request with such fields."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._fields = _Fields(scope["headers"])

    @property
    def headers(self) -> Headers:
        return self._fields
