"""An image that counts, for pages without scripts. Each request for it is an event that the service makes.

A browser asks for an image as often as it likes: again after an error, or never. So what it counts is not exact, and
has a kind of its own. It goes the way of all events, past keys, limits and bounds.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from services.ingest.routes import EVENTS
from services.json_answer import NO_STORE
from services.openapi import JSON

KIND = "noscript"
VIDEO = "video_id"
MEDIA = "image/gif"
# One transparent dot.
DOT = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
# What says something of the body that comes, and not of the one that is made here.
_OF_BODY = frozenset({b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"origin"})
_NOT_TOLD = "null"


def image_routes(path: str, post_events: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    """The route of the image. Without a path there is none. `post_events` takes the event as a body of its own."""
    if not path:
        return []

    async def get(request: Request) -> Response:
        # Whoever asks for the head alone shows nobody anything.
        if request.method == "GET":
            response = await post_events(_event(request))
            if response.status_code != EVENTS.status:
                response.headers.update(NO_STORE)
                return response
        return Response(DOT, 200, NO_STORE, MEDIA)

    return [Route(path, get)]


def _event(request: Request) -> Request:
    """The request for an image as one with an event."""
    query = dict(request.query_params)
    body = msgspec.json.encode({"events": [{VIDEO: query.pop(VIDEO, ""), "kind": KIND}]})
    headers = [(name, value) for name, value in request.scope["headers"] if name not in _OF_BODY]
    headers += [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    origin = _origin(request)
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    scope: dict[str, Any] = {
        **request.scope,
        "method": EVENTS.method,
        "path": EVENTS.path,
        # Parameters that are not known are refused there.
        "query_string": urlencode(query).encode(),
        "headers": headers,
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def _origin(request: Request) -> str | None:
    """Whose page shows the image, as far as the browser says so: it sends no Origin for one."""
    origin = request.headers.get("origin")
    if origin is not None:
        return origin
    page = urlsplit(request.headers.get("referer", ""))
    if page.scheme and page.netloc:
        return f"{page.scheme}://{page.netloc}"
    # A page that hides itself is no page of this machine, and none of a key's list.
    return _NOT_TOLD if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} else None
