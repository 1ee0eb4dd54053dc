"""The way past Starlette of requests with events."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from services.ingest.routes import EVENTS
from services.short_way import ShortWay

# What the middleware of CORS adds to each answer.
VARY = (b"vary", b"Origin")


def short_way(app: ASGIApp, post_events: Callable[[Request], Awaitable[Response]]) -> ShortWay:
    """The application that gives POST /v1/events to its endpoint, and all else to `app`."""

    async def answer(request: Request) -> Response:
        response = await post_events(request)
        response.raw_headers.append(VARY)
        return response

    return ShortWay(app, _has_events, answer)


def _has_events(scope: Scope) -> bool:
    return bool(scope["path"] == EVENTS.path and scope["method"] == EVENTS.method)
