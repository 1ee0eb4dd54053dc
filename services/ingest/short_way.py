"""Takes most requests with events past Starlette, whose middleware and routing cost as much as the events do.

Its answers are those of the application behind it, which has the same endpoint: a test compares the two. Only an error
that nobody foresaw is answered by uvicorn, which also closes the connection.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.connections import write_answer
from services.ingest.routes import EVENTS
from services.plain_request import PlainRequest

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
            request = PlainRequest(scope, receive)
            if "origin" not in request.headers:
                response = await self._post_events(request)
                response.raw_headers.append(VARY)
                if not write_answer(send, response.status_code, response.raw_headers, response.body):
                    await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
