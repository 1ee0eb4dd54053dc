"""Takes most requests for a total past Starlette, whose middleware and routing cost more than the total does.

Its answers are those of the application behind it, which has the same endpoint: a test compares the two.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.connections import write_answer
from services.plain_request import PlainRequest
from services.query.api.operations.videos import VIEWS
from services.stamped import stamp

BEFORE, AFTER = VIEWS.path.split("{video_id}")


class ShortWay:
    """An ASGI application that gives GET /v1/videos/{video_id}/views to its endpoint, and all else to `app`.

    So it does with requests that have an Origin: what pages of other sites may read is for the middleware of CORS.
    """

    def __init__(self, app: ASGIApp, views: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._views = views

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http" and scope["method"] == VIEWS.method and _is_total(scope["path"]):
            request = PlainRequest(scope, receive)
            if "origin" not in request.headers:
                stamps = stamp(scope)
                response = await self._views(request)
                # As the middleware of CORS does with each answer.
                response.headers.add_vary_header("Origin")
                response.raw_headers += stamps
                if not write_answer(send, response.status_code, response.raw_headers, response.body):
                    await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_total(path: str) -> bool:
    """Whether the path is one that Starlette gives to the endpoint: a video's id may have slashes, or be empty."""
    return path.startswith(BEFORE) and path.endswith(AFTER) and len(path) >= len(BEFORE) + len(AFTER)
