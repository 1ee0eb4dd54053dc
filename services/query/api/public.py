"""What pages of others load: pictures, and the script that shows counts. Caches may keep both."""

import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.access.caller import Caller
from services.query.api.badge import MEDIA

EMBED_PATH = "/embed.js"
# So long a cache may show a picture of a number that has grown.
BADGE_S = 60
EMBED_S = 3600
# A picture is shown on pages of any origin. Opened by itself, it runs nothing and loads nothing.
_PICTURE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Authorization",
}
_SCRIPT = {
    # A tag with `crossorigin` gets it only so. It is no secret.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": f"public, max-age={EMBED_S}",
}


def picture(content: bytes, caller: Caller) -> Response:
    """The answer that is this picture. Only what a publishable key may see is for caches that many share."""
    who = "public" if caller.is_publishable else "private"
    return Response(content, 200, {**_PICTURE, "Cache-Control": f"{who}, max-age={BADGE_S}"}, MEDIA)


@cache
def embed_script() -> bytes:
    """What a page loads that shows counts."""
    return (files("schemas") / "browser" / "embed.js").read_bytes()


def embed_route() -> Route:
    """The route of the script."""
    content = embed_script()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    async def get(request: Request) -> Response:
        headers = {**_SCRIPT, "ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(content, 200, headers, "text/javascript; charset=utf-8")

    return Route(EMBED_PATH, get)
