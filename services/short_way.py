"""Takes most requests of one kind past Starlette, whose middleware and routing cost as much as the answer does.

The answers are those of the application behind it, which has the same endpoint: a test of each service compares the
two. An error that the endpoint does not answer is answered by uvicorn, which also closes the connection.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.connections import write_answer
from services.plain_request import PlainRequest


class ShortWay:
    """An ASGI application that gives the requests that `takes` says to `answer`, and all else to `app`.

    `takes` is asked about requests of HTTP only. Those that have an Origin go to `app`, too: what pages of other sites
    may read is for the middleware of CORS. So `answer` adds what that middleware adds to each answer.
    """

    def __init__(
        self, app: ASGIApp, takes: Callable[[Scope], bool], answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._takes = takes
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http" and self._takes(scope):
            request = PlainRequest(scope, receive)
            if "origin" not in request.headers:
                response = await self._answer(request)
                if not write_answer(send, response.status_code, response.raw_headers, response.body):
                    await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
