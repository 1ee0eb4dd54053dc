"""Sends HTTP requests to parts of the stack, never through a proxy.

A user's `http_proxy` is meant for other machines. A proxy cannot reach 127.0.0.1 of this machine.
"""

import http.client
import json
import urllib.request
from typing import Any, cast

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_local(request: str | urllib.request.Request, *, timeout_s: float) -> http.client.HTTPResponse:
    """The answer to a URL or request. Raises as urllib does: HTTPError for a status of 400 and above, OSError."""
    return cast("http.client.HTTPResponse", _OPENER.open(request, timeout=timeout_s))


def get_json(url: str, *, timeout_s: float) -> Any:
    """The decoded answer, or None if there is none with status 200."""
    try:
        with open_local(url, timeout_s=timeout_s) as answer:
            return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return None
