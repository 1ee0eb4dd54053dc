"""Finds out who sends a request, and whether they may. The same for all HTTP services."""

import asyncio
import time
from pathlib import Path

import structlog
from prometheus_client import Gauge
from prometheus_client.registry import CollectorRegistry
from starlette.requests import Request

from connectors.key_file import read_keys
from schemas.access_keys import ANY, Key, KeyFileError
from services.access.caller import Caller
from services.access.known_keys import KnownKeys
from services.access.open_access import check_local
from services.refused import RefusedError
from settings import AccessSettings

LOG = structlog.get_logger("access")
WRITERS = frozenset({"write", "admin", "canary", "pubwrite"})
READERS = frozenset({"read", "admin", "canary"})
# Whoever shows a total to everybody.
TOTAL_READERS = READERS | {"pubread"}
# The parameter for a publishable key: a beacon of a browser cannot send headers of its own.
KEY_PARAMETER = "key"
RELOAD_S = 1.0
NO_KEY = "send a key as `Authorization: Bearer vc_...`"


class Access:
    """Knows the callers. Call `load` before the first request, and let `watch` run while the process lives."""

    def __init__(self, settings: AccessSettings, registry: CollectorRegistry | None = None) -> None:
        self.is_open = settings.mode == "open"
        self.known = KnownKeys()
        # When each key was last used here, in s since 1970, until somebody takes it out.
        self.used: dict[str, int] = {}
        self._open = Caller(settings.project)
        self._path = Path(settings.keys_file)
        self._version: tuple[int, int, int] | None = None
        self._is_unreadable = False
        self._gauge = Gauge(
            "view_counts_access_keys_unreadable",
            "1 while the file of keys cannot be read, so that an older version of it is in force.",
            registry=registry or CollectorRegistry(),
        )

    def load(self) -> None:
        """Read the file of keys. Raises KeyFileError; a process that knows no key does not start."""
        if not self.is_open:
            self.known.replace(read_keys(self._path))
            self._version = self._found()

    async def watch(self) -> None:
        """Read the file again whenever it changes, until the task is cancelled."""
        while not self.is_open:
            await asyncio.sleep(RELOAD_S)
            self.reload()

    def reload(self) -> None:
        """Take a new version of the file. One that cannot be read leaves the old one in force, and raises an alarm."""
        version = self._found()
        if version is not None and version == self._version:
            return
        try:
            self.known.replace(read_keys(self._path))
        except KeyFileError as error:
            if not self._is_unreadable:
                text = "the new version of the file of keys is not taken, the old one is in force"
                LOG.error(text, error=str(error))  # noqa: TRY400 - the sentence says all, and a trace nothing more
            self._is_unreadable = True
            self._gauge.set(1)
            return
        # The version is that of before the read. So a change during the read is found the next time.
        self._version = version
        self._is_unreadable = False
        self._gauge.set(0)
        LOG.info("keys are read", keys=len(self.known))

    def caller(self, request: Request, scopes: frozenset[str]) -> Caller:
        """Who sends the request. Raises RefusedError (401, 403) for who may not."""
        headers = request.headers
        if self.is_open:
            check_local(headers.getlist("host"), headers.getlist("origin"), headers.getlist("x-forwarded-for"))
            return self._open
        known = self.known.find(_text(request))
        key = known.key
        self.used[key.id] = int(time.time())
        if key.scope not in scopes:
            raise RefusedError(403, f"a key of the scope {key.scope} may not do this; use one of {_listed(scopes)}")
        if key.is_publishable:
            _check_origin(key, headers.getlist("origin"))
        return known.caller

    def _found(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _text(request: Request) -> str:
    """The text of the key. Raises RefusedError (401)."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not text.strip():
            raise RefusedError(401, f"Authorization has no key; {NO_KEY}")
        return text.strip()
    text = request.query_params.get(KEY_PARAMETER, "")
    if not text:
        raise RefusedError(401, f"there is no key; {NO_KEY}")
    if not text.startswith("vc_pub"):
        # Addresses of requests are kept in logs and histories.
        raise RefusedError(
            401, f"the parameter {KEY_PARAMETER} is for publishable keys; {NO_KEY}, and replace that one"
        )
    return text


def _check_origin(key: Key, origins: list[str]) -> None:
    if ANY in key.origins:
        return
    for origin in origins or [""]:
        if origin not in key.origins:
            shown = f"Origin: {origin:.80}" if origin else "a request without an Origin"
            raise RefusedError(403, f"{shown} may not use the key {key.id}; it is for pages of other origins")


def _listed(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes))
