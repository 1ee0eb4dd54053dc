"""The real ingest service beside a site whose pages have its script: two origins on this machine, for a browser.

Ingest's writer is a double. What every request for events said and what was answered is noted, and a test may decide
what is answered instead. Knows no browser.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support.waiting import eventually
from tools.stack.machine.ports import HOST, free_ports

PATIENCE_S = 120.0
EVENTS, TIME = "/v1/events", "/v1/time"
ACCEPTED = 202
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}


@dataclass
class Sent:
    """A body of events, and the answer to it: None as long as there is none."""

    body: bytes
    query: str
    media: str
    at_s: float = field(default_factory=time.monotonic)
    status: int | None = None
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the body."""
        found: list[dict[str, Any]] = json.loads(self.body)["events"]
        return found

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """The events that were acknowledged."""
        if self.status != ACCEPTED:
            return []
        rejected = {one["index"] for one in self.result["rejected"]}
        return [event for index, event in enumerate(self.events) if index not in rejected]


# The page may not read it: ingest has taken the events, and nobody hears of it.
LOST = Response(None, 502)


async def _unheard(_message: Message) -> None:
    return


class Watched:
    """Wraps ingest. What a test puts into `instead` is answered to the next bodies, and `always` to all others.

    While `hold` is not set, requests with events wait. Those of an earlier test, whose pages may still send, have
    another `prefix`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tests = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was sent, and answer as ingest does."""
        self._tests += 1
        self.prefix = f"/test{self._tests}"
        self.sent: list[Sent] = []
        self.asked_time = 0
        self.instead: deque[Response] = deque()
        self.always: Response | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.bytes_now = 0
        self.bytes_most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        own, _, path = scope.get("path", "").partition("/v1/")
        if path and own:
            scope = {**scope, "path": f"/v1/{path}"}
        if own in {"", self.prefix} and scope.get("path") == EVENTS and scope["method"] == "POST":
            await self._events(scope, receive, send)
            return
        self.asked_time += own in {"", self.prefix} and scope.get("path") == TIME
        await self._app(scope, receive, send)

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        sent = Sent(body, request.url.query, request.headers.get("content-type", ""))
        self.sent.append(sent)
        self.bytes_now += len(body)
        self.bytes_most = max(self.bytes_most, self.bytes_now)
        try:
            while not self.hold.is_set():
                await asyncio.sleep(0.01)
            response = self.instead.popleft() if self.instead else self.always
            if response is LOST:
                await self._real(scope, body, sent, _unheard)
            if response is not None:
                sent.status = sent.status or response.status_code
                await response(scope, receive, send)
                return
            await self._real(scope, body, sent, send)
        finally:
            self.bytes_now -= len(body)

    async def _real(self, scope: Scope, body: bytes, sent: Sent, send: Send) -> None:
        status = 0

        async def given() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def noted(message: Message) -> None:
            nonlocal status
            # Before the browser hears of it. The status comes last: tests read in another thread.
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent.result = json.loads(message["body"])
                sent.status = status
            await send(message)

        await self._app(scope, given, noted)


class Heard:
    """What pages have marked, and what they were told: how a test and a page that nobody steers keep in step."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.told: set[str] = set()

    def reset(self) -> None:
        """Forget all."""
        self.marks.clear()
        self.told.clear()

    async def mark(self, request: Request) -> Response:
        """What `mark(name)` of a page asks for."""
        self.marks.append(request.path_params["name"])
        return Response(None, 204)

    async def tell(self, request: Request) -> Response:
        """What `told(name)` of a page waits for."""
        while request.path_params["name"] not in self.told:
            if await request.is_disconnected():
                break
            await asyncio.sleep(0.01)
        return Response(None, 204)


# What pages use for that.
KEEP_IN_STEP = """<script>
const mark = (name) => fetch("/marks/" + name, { keepalive: true });
const told = (name) => fetch("/told/" + name);
</script>"""


class Site:
    """Both servers. `page` makes a page of the site; `counted` says what ingest has acknowledged."""

    def __init__(
        self, watched: Watched, heard: Heard, pages: dict[str, str], *, ingest_url: str, url: str, key: str
    ) -> None:
        self.watched = watched
        self.heard = heard
        self.pages = pages
        self.ingest_url = ingest_url
        self.url = url
        self.key = key

    def reset(self) -> None:
        """Forget pages and what was sent."""
        self.watched.reset()
        self.heard.reset()
        self.pages.clear()

    def page(self, body: str, *, path: str = "/", tag: str = "data-local") -> str:
        """The URL of a new page with this body, and a tag with these attributes."""
        to = f'data-key="{self.key}" data-to="{self.watched.prefix}"'
        script = f'<script defer src="{self.ingest_url}/vc.js" {to} {tag}></script>'
        self.pages[path] = f"<!doctype html><meta charset=utf-8><title>a page</title>{KEEP_IN_STEP}{script}<body>{body}"
        return f"{self.url}{path}"

    def marked(self, name: str, times: int = 1) -> None:
        """Wait until a page has marked this so often."""
        assert eventually(lambda: self.heard.marks.count(name) >= times, PATIENCE_S, 0.02), self.heard.marks

    def tell(self, name: str) -> None:
        """Let pages go on that wait for this."""
        self.heard.told.add(name)

    def counted(self) -> Counter[tuple[str, str]]:
        """How many different events were acknowledged, by video and kind. One that came twice had one time."""
        times: dict[str, set[int]] = {}
        names: dict[str, tuple[str, str]] = {}
        for sent in list(self.watched.sent):
            for event in sent.accepted:
                times.setdefault(event["event_id"], set()).add(event["viewed_at"])
                names[event["event_id"]] = (event["video_id"], event["kind"])
        assert all(len(found) == 1 for found in times.values()), times
        return Counter(names.values())

    def awaited(self, *events: tuple[str, str]) -> Counter[tuple[str, str]]:
        """What was counted once all of these were."""
        wanted = Counter(events)
        assert eventually(lambda: wanted <= self.counted(), PATIENCE_S, 0.02), (wanted, self.counted())
        return self.counted()


def site_app(heard: Heard, pages: Mapping[str, str], clips: Path) -> Starlette:
    """The site: pages by path, and the films of a folder."""

    async def page(request: Request) -> Response:
        html = pages.get(request.url.path)
        return Response(None, 404) if html is None else HTMLResponse(html)

    async def film(request: Request) -> Response:
        return FileResponse(clips / request.path_params["name"], media_type="video/webm")

    return Starlette(
        routes=[
            Route("/films/{name}", film),
            Route("/marks/{name}", heard.mark),
            Route("/told/{name}", heard.tell),
            Route("/{path:path}", page),
        ]
    )


@contextlib.contextmanager
def served(app: ASGIApp, port: int, *, lifespan: Any = "on") -> Iterator[str]:
    """The URL of an application, in a thread of its own."""
    server = uvicorn.Server(
        uvicorn.Config(app, host=HOST, port=port, log_level="warning", lifespan=lifespan, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        # Ingest compiles kernels first, where nobody has done so.
        assert eventually(lambda: server.started or not thread.is_alive(), poll_s=0.02)
        assert server.started
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


@contextlib.contextmanager
def watched_site(ingest: ASGIApp, key: str, clips: Path) -> Iterator[Site]:
    """Ingest and a site. Their hosts differ, as their ports do."""
    ports = free_ports(("watched", "site"))
    watched = Watched(ingest)
    heard, pages = Heard(), dict[str, str]()
    with served(watched, ports["watched"]) as ingest_url, served(site_app(heard, pages, clips), ports["site"]):
        yield Site(watched, heard, pages, ingest_url=ingest_url, url=f"http://localhost:{ports['site']}", key=key)


def refusal(status: int, retry_after_s: int | None = None) -> Response:
    """An answer that a page can read, as ingest's are."""
    more = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Response(b'{"accepted":0,"rejected":[]}', status, {**CORS, **more}, "application/json")
