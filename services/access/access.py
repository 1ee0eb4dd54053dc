"""Finds out who sends a request, and whether they may. The same for all HTTP services."""

import re
import time
from pathlib import Path

from prometheus_client.registry import CollectorRegistry
from starlette.requests import Request

from connectors.key_file import read_keys
from schemas.access_keys import ANY, Key, KeyFileError
from services.access.caller import Caller
from services.access.known_keys import KnownKeys
from services.access.open_access import check_local
from services.refused import RefusedError
from services.watched_file import WatchedFile
from settings import AccessSettings

WRITERS = frozenset({"write", "admin", "canary", "pubwrite"})
READERS = frozenset({"read", "admin", "canary"})
# Whoever shows a total to everybody.
TOTAL_READERS = READERS | {"pubread"}
# The parameter for a publishable key: a beacon of a browser cannot send headers of its own.
KEY_PARAMETER = "key"
_ORIGIN = re.compile(r"https?://[^/?#]+")
NO_KEY = "send a key as `Authorization: Bearer vc_...`"


class Access:
    """Knows the callers. Its `file` of keys is to be loaded first, and watched."""

    def __init__(self, settings: AccessSettings, registry: CollectorRegistry) -> None:
        self.is_open = settings.mode == "open"
        self.known = KnownKeys()
        # When each key was last used here, in s since 1970, until somebody takes it out.
        self.used: dict[str, int] = {}
        self._open = Caller(settings.project)
        # In open access there are no keys.
        self.file = WatchedFile(
            None if self.is_open else Path(settings.keys_file),
            "the file of keys",
            read=read_keys,
            take=self.known.replace,
            error=KeyFileError,
            metric="access_keys",
            registry=registry,
        )

    def caller(self, request: Request, scopes: frozenset[str], *, is_of_picture: bool = False) -> Caller:
        """Who sends the request. Raises RefusedError (400, 401, 403) for who may not.

        With `is_of_picture`, the page that a picture is for may be named by Referer: browsers send no Origin for it.
        """
        headers = request.headers
        public = _public_text(request)
        if self.is_open:
            check_local(headers.getlist("host"), headers.getlist("origin"), headers.getlist("x-forwarded-for"))
            return self._open
        known = self.known.find(_text(request, public))
        key = known.key
        self.used[key.id] = int(time.time())
        if key.scope not in scopes:
            raise RefusedError(403, f"a key of the scope {key.scope} may not do this; use one of {_listed(scopes)}")
        if key.is_publishable:
            origins = headers.getlist("origin")
            if is_of_picture and not origins:
                origins = [_origin_of(referer) for referer in headers.getlist("referer")]
            _check_origin(key, origins)
        return known.caller


def _public_text(request: Request) -> str:
    """The text of the key in the address, if there is one. Raises RefusedError (400) for a secret one.

    In open access and beside a header, too: addresses are kept in logs and histories.
    """
    text = request.query_params.get(KEY_PARAMETER, "") if request.scope["query_string"] else ""
    if text and not text.startswith("vc_pub"):
        raise RefusedError(
            400, f"the parameter {KEY_PARAMETER} is for publishable keys; {NO_KEY}, and replace a secret that was there"
        )
    return text


def _text(request: Request, public: str) -> str:
    """The text of the key. Raises RefusedError (401)."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not text.strip():
            raise RefusedError(401, f"Authorization has no key; {NO_KEY}")
        return text.strip()
    if not public:
        raise RefusedError(401, f"there is no key; {NO_KEY}")
    return public


def _origin_of(referer: str) -> str:
    """The origin of the page with this address; browsers send at least that to others."""
    found = _ORIGIN.match(referer)
    return "" if found is None else found[0]


def _check_origin(key: Key, origins: list[str]) -> None:
    if ANY in key.origins:
        return
    for origin in origins or [""]:
        if origin not in key.origins:
            shown = f"Origin: {origin:.80}" if origin else "a request without an Origin"
            raise RefusedError(403, f"{shown} may not use the key {key.id}; it is for pages of other origins")


def _listed(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes))
