"""A service that takes events as ingest does and fails as often as a test says, over real connections.

It shares no code with the client or the product, so that it can disagree with both.
"""

import gzip
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from backports import zstd

# A socket that is closed with this option resets its connection.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What becomes of one request: the share of its events that are taken, and the answer. None is a reset instead."""

    status: int | None = 202
    taken: float = 1.0
    retry_after_s: int | None = None


FINE = Fault()
AWAY = Fault(503, 0.0)
LIMITED = Fault(429, 0.0, retry_after_s=0)
# The events are there, and the client cannot know.
SILENT = Fault(None, 1.0)
PARTLY = Fault(202, 0.5)


@dataclass
class Stub:
    """What a stub has taken: how often each id, and one event of each; and the requests."""

    fault: Callable[[], Fault]
    url: str = ""
    clock_ahead_ms: int = 0
    ids: Counter[str] = field(default_factory=Counter)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    # All that was sent of each id: an event is the same whenever it is sent.
    differing: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    refuse: Callable[[dict[str, Any]], bool] = lambda _event: False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, events: list[dict[str, Any]], fault: Fault) -> tuple[int, dict[str, Any]]:
        """Take what is to be taken of a body."""
        rejected = []
        accepted = 0
        for index, event in enumerate(events):
            known = self.events.setdefault(event["event_id"], event)
            if known != event:
                self.differing.append(event["event_id"])
            if self.refuse(event):
                rejected.append(
                    {"index": index, "field": "video_id", "value": "", "reason": "bad", "remedy": "mend it"}
                )
            elif index < fault.taken * len(events):
                accepted += 1
                self.ids[event["event_id"]] += 1
            else:
                remedy = "send it again, with the same id and time"
                rejected.append({"index": index, "field": None, "value": None, "reason": "lost", "remedy": remedy})
        return (fault.status or 202), {"accepted": accepted, "rejected": rejected}


def at_random(seed: int, *faults: tuple[float, Fault]) -> Callable[[], Fault]:
    """Each fault with its share of requests; the others go well."""
    chance = random.Random(seed)

    def choose() -> Fault:
        drawn = chance.random()
        for share, fault in faults:
            drawn -= share
            if drawn < 0:
                return fault
        return FINE

    return choose


@contextmanager
def stub_ingest(fault: Callable[[], Fault] = lambda: FINE) -> Iterator[Stub]:
    """A stub on a free port of this machine until the context ends."""
    stub = Stub(fault)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else a head and a body that are written apart wait for each other's acknowledgement.
        disable_nagle_algorithm = True

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            with stub.lock:
                stub.paths.append(self.path)
            now_ms = time.time_ns() // 1_000_000 + stub.clock_ahead_ms
            self._answer(200, json.dumps({"now": now_ms}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            unpack = {"gzip": gzip.decompress, "zstd": zstd.decompress}.get(self.headers.get("content-encoding", ""))
            events = [json.loads(line) for line in (unpack(body) if unpack else body).splitlines()]
            with stub.lock:
                stub.paths.append(self.path)
                stub.keys.append(self.headers["idempotency-key"])
                stub.headers.append({name.lower(): value for name, value in self.headers.items()})
                chosen = stub.fault()
                status, answer = stub.answer(events, chosen)
            if chosen.status is None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()
                self.close_connection = True
                return
            wait_s = chosen.retry_after_s
            self._answer(status, json.dumps(answer).encode(), {} if wait_s is None else {"retry-after": str(wait_s)})

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that is killed, or a connection that was reset, is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
