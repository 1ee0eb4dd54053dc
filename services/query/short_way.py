"""The way past Starlette of requests for a total."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from services.query.api.operations.videos import VIEWS
from services.short_way import ShortWay
from services.stamped import stamp

BEFORE, AFTER = VIEWS.path.split("{video_id}")


def short_way(app: ASGIApp, views: Callable[[Request], Awaitable[Response]]) -> ShortWay:
    """The application that gives GET /v1/videos/{video_id}/views to its endpoint, and all else to `app`."""

    async def answer(request: Request) -> Response:
        stamps = stamp(request.scope)
        response = await views(request)
        # As the middleware of CORS does with each answer.
        response.headers.add_vary_header("Origin")
        response.raw_headers += stamps
        return response

    return ShortWay(app, _is_for_total, answer)


def _is_for_total(scope: Scope) -> bool:
    """Whether Starlette gives the request to the endpoint: a video's id may have slashes, or be empty."""
    path: str = scope["path"]
    return (
        scope["method"] == VIEWS.method
        and path.startswith(BEFORE)
        and path.endswith(AFTER)
        and len(path) >= len(BEFORE) + len(AFTER)
    )
