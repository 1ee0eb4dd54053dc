"""Serves the browser script: the newest one for an hour, and each version by its own path for ever."""

import gzip
import hashlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.browser_script import VERSION, VERSIONS, script, versioned

MEDIA = "text/javascript; charset=utf-8"
NEWEST_S = 3600
# The longest time that caches know, and that browsers need not ask again before it is over.
FOR_EVER = "public, max-age=31536000, immutable"
# A page whose tag has `integrity` gets a script of another origin only if everybody may read it. It is no secret, so
# that the list of origins in the settings does not bound it.
READABLE = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
_GZIP = "gzip"


def script_routes(path: str) -> list[Route]:
    """The routes below which the script lies. Without a path there is none."""
    if not path:
        return []
    newest = _Script(VERSION, f"public, max-age={NEWEST_S}")
    kept = [Route(versioned(path, version), _Script(version, FOR_EVER).get) for version in VERSIONS]
    return [Route(path, newest.get), *kept]


class _Script:
    """One version, for caches that keep it as it says."""

    def __init__(self, version: int, cache_control: str) -> None:
        self._plain = script(version)
        self._packed = gzip.compress(self._plain, 9, mtime=0)
        self._tag = f"{version}-{hashlib.sha256(self._plain).hexdigest()[:16]}"
        self._headers = {
            **READABLE,
            "Cache-Control": cache_control,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }

    async def get(self, request: Request) -> Response:
        """The endpoint of GET."""
        is_packed = _GZIP in request.headers.get("accept-encoding", "")
        # Other bytes are another representation, and have a tag of their own (RFC 9110, 8.8.3).
        etag = f'"{self._tag}-{_GZIP}"' if is_packed else f'"{self._tag}"'
        headers = {**self._headers, "ETag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        if is_packed:
            headers["Content-Encoding"] = _GZIP
        return Response(self._packed if is_packed else self._plain, 200, headers, MEDIA)
