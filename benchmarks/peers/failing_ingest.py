"""A service that takes views of each sender's form and fails for a share of requests: `python -m ...failing_ingest`.

It prints its port, and answers at /counts what has arrived. Views have names of their own. A view whose name came with
two ids would count twice where ids are told apart; one that came twice with the same id counts once.
"""

import gzip
import json
import random
import socket
import struct
import sys
import threading
import time
import uuid
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Of the requests that fail, so many were taken before: the sender cannot know.
TAKEN_SHARE = 0.25
_RESET = struct.pack("ii", 1, 0)
TOLD = (202, 200)


class Counts:
    """What has arrived: the ids of each name, and how often each came."""

    def __init__(self, fail_share: float) -> None:
        self._fail_share = fail_share
        # The same requests fail for each sender, as far as they send as many.
        self._chance = random.Random(1)  # noqa: S311 - nothing is secret here
        self._lock = threading.Lock()
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._deliveries = 0
        self._requests = 0

    def take(self, views: list[tuple[str, str]]) -> int | None:
        """The status of a request with these views, as (name, id); None if the connection is reset."""
        with self._lock:
            self._requests += 1
            drawn = self._chance.random()
            is_failed = drawn < self._fail_share
            is_taken = not is_failed or drawn < self._fail_share * TAKEN_SHARE
            if is_taken:
                self._deliveries += len(views)
                for name, identity in views:
                    self._ids[name].add(identity)
            if not is_failed:
                return 202
            return None if is_taken else 503

    def shown(self) -> dict[str, int]:
        """All of it, as numbers."""
        with self._lock:
            ids = sum(map(len, self._ids.values()))
            return {
                "arrived": len(self._ids),
                "doubled": ids - len(self._ids),
                "repeats": self._deliveries - ids,
                "requests": self._requests,
            }


def views_of(path: str, body: bytes) -> list[tuple[str, str]]:
    """(name, id) of each view. One without an id gets one, as ingest would give it."""
    if path.startswith("/v1/events"):
        events = [json.loads(line) for line in body.splitlines()]
        if len(events) == 1 and "events" in events[0]:
            events = events[0]["events"]
        return [(event["video_id"], event.get("event_id") or str(uuid.uuid4())) for event in events]
    batch = json.loads(body)["batch"]
    return [(event["properties"]["video_id"], event["uuid"]) for event in batch]


def serve(fail_share: float) -> None:
    """Serve until the process is stopped."""
    counts = Counts(fail_share)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            answers = {"/counts": counts.shown(), "/v1/time": {"now": time.time_ns() // 1_000_000}}
            self._answer(200, answers.get(self.path, {}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_packed = self.headers.get("content-encoding") == "gzip" or body.startswith(b"\x1f\x8b")
            views = views_of(self.path, gzip.decompress(body) if is_packed else body)
            status = counts.take(views)
            if status is None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()
                self.close_connection = True
            elif status == 202:
                self._answer(TOLD[self.path.startswith("/batch")], {"accepted": len(views), "rejected": []})
            else:
                self._answer(status, {"accepted": 0, "rejected": [], "error": "away"})

        def _answer(self, status: int, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: Any) -> None:
            """A connection that was reset is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(float(sys.argv[1]))
