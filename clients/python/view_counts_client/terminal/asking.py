"""Asks the query service, again if it cannot answer now, and says in one line why there is no answer."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from view_counts_client.answers import retry_after_s
from view_counts_client.terminal.events import Event, Events
from view_counts_client.transport import Answer, NoAnswerError
from view_counts_client.version import VERSION

Found = dict[str, Any]
JSON = "application/json"
EVENTS = "text/event-stream"
# How long to wait before the question is put again, if the service does not say.
AGAIN_S = 1.0


class Exit(IntEnum):
    """How a command ends, for scripts."""

    FINE = 0
    # The service did not answer, or could not.
    NO_ANSWER = 1
    # The question is wrong: as typed, or as the service says.
    WRONG = 2
    # The key may not ask this.
    DENIED = 3
    # There is an answer, and it says that numbers do not agree.
    NOT_EXACT = 4
    INTERRUPTED = 130


class AskError(Exception):
    """There is no answer. The text says why, and what to do."""

    def __init__(self, text: str, code: Exit, status: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class Reply(NamedTuple):
    """An answer, and the header fields that came with it, which say how far it may be trusted."""

    found: Found
    headers: Mapping[str, str]


class Waits(NamedTuple):
    """How long a question may be put again and again, and the clock for it."""

    most_s: float
    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


class Asking(Protocol):
    """The requests that are needed here; see HttpTransport."""

    def get(self, url: str, headers: Mapping[str, str]) -> Answer: ...  # noqa: D102
    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer: ...  # noqa: D102

    def stream(  # noqa: D102
        self, url: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[tuple[Answer, Iterator[bytes]]]: ...


class Query:
    """The query service at one URL."""

    def __init__(self, url: str, key: str | None, transport: Asking, waits: Waits) -> None:
        self.url = url.rstrip("/")
        self._headers = {"user-agent": f"view-counts-client/{VERSION}", "accept": JSON}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._transport = transport
        self._waits = waits

    def ask(self, path: str, parameters: Mapping[str, str | None]) -> Reply:
        """The answer. Parameters that are None are left out. Raises AskError."""
        url = self.url + path + _asked(parameters)
        return self._again(url, lambda: self._transport.get(url, self._headers))

    def ask_about(self, path: str, body: Found) -> Reply:
        """The answer to a question that is too long for an address. Raises AskError."""
        url, headers = self.url + path, {**self._headers, "content-type": JSON}
        return self._again(url, lambda: self._transport.post(url, headers, json.dumps(body).encode()))

    def _again(self, url: str, request: Callable[[], Answer]) -> Reply:
        """Send a question until it is answered, or there is no use in it."""
        until_s = self._waits.now_s() + self._waits.most_s
        while True:
            wait_s, error = AGAIN_S, None
            try:
                answer = request()
            except NoAnswerError as failure:
                error = AskError(f"{failure}: look whether --url is right and the service runs", Exit.NO_ANSWER)
            else:
                if answer.status == 200:
                    return Reply(_object(url, answer.body), answer.headers)
                error = refused(answer.status, answer.headers.get("content-type", ""), answer.body)
                wait_s = retry_after_s(answer.headers.get("retry-after"), time.time()) or AGAIN_S
            if error.code is not Exit.NO_ANSWER or self._waits.now_s() + wait_s > until_s:
                raise error
            self._waits.sleep(wait_s)

    def follow(self, path: str, parameters: Mapping[str, str | None], last_id: str | None) -> Iterator[Event]:
        """The server-sent events of a path, those after `last_id`, until the service ends them. Raises AskError."""
        headers = {**self._headers, "accept": EVENTS, "cache-control": "no-store"}
        if last_id is not None:
            headers["last-event-id"] = last_id
        url = self.url + path + _asked(parameters)
        events = Events()
        try:
            with self._transport.stream(url, headers) as (head, chunks):
                kind = head.headers.get("content-type", "")
                if head.status != 200 or not kind.startswith(EVENTS):
                    # Whoever answers with something else has no events, as who says that it is not acceptable.
                    raise refused(406 if head.status == 200 else head.status, kind, b"".join(chunks))
                for chunk in chunks:
                    yield from events.feed(chunk)
        except NoAnswerError as failure:
            raise AskError(f"{failure}", Exit.NO_ANSWER) from failure

    def pause(self, seconds: float) -> None:
        """Wait until the next question."""
        self._waits.sleep(seconds)


def path_of(*parts: str) -> str:
    """A path below /v1 of these names, whatever is in them."""
    return "/v1/" + "/".join(quote(part, safe=":") for part in parts)


def refused(status: int, kind: str, body: bytes) -> AskError:
    """What an answer says that is not the one asked for."""
    said = _said(body) or f"{status} {kind}: no answer of this service; look whether --url is right"
    if status in {401, 403}:
        return AskError(f"{said}: set VC_KEY or --key-file to a key that may read", Exit.DENIED, status)
    if status == 404:
        return AskError(f"{said}: look whether the service is older than this command", Exit.WRONG, status)
    if status in {429, 500, 502, 503, 504}:
        return AskError(f"{status}: {said}", Exit.NO_ANSWER, status)
    return AskError(said, Exit.WRONG, status)


def _said(body: bytes) -> str:
    """What a refusal says: each field at fault with its value and reason, or one sentence; "" if it says nothing."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    errors = found.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(
            f"{one.get('field')}={one.get('value')!r}: {one.get('reason') or one.get('detail')}"
            for one in errors
            if isinstance(one, dict)
        )
    return str(found.get("detail") or found.get("error") or found.get("title") or "")


def _asked(parameters: Mapping[str, str | None]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _object(url: str, body: bytes) -> Found:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AskError(f"{url} has not answered in JSON: look whether --url is that of the query service", Exit.WRONG)
    return found
