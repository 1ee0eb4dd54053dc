"""The load tool of the benchmark of ingest, as it is compiled, against a small HTTP server."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from benchmarks.inputs import bodies
from benchmarks.measuring import go_programs, ingest_recount
from tools.stack.machine.ports import HOST

pytestmark = [
    pytest.mark.slow,
    # Two processes would compile into one file.
    pytest.mark.xdist_group("load_tool"),
    pytest.mark.skipif(shutil.which("go") is None, reason="Go, which only the benchmark needs, is not on the PATH"),
]
NOW_MS = 1_790_000_000_000
EVENTS = 3


class Ingest(BaseHTTPRequestHandler):
    """Takes all bodies but those of a second that it refuses."""

    protocol_version = "HTTP/1.1"
    ids: ClassVar[list[str]] = []
    refuses: ClassVar[bool] = False
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Answer one request."""
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]
        answer = b'{"error":"too much"}' if self.refuses else json.dumps({"accepted": len(events)}).encode()
        if not self.refuses:
            self.ids.extend(event["event_id"] for event in events)
        self.send_response(429 if self.refuses else 202)
        if self.refuses:
            self.send_header("Retry-After", "60")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        """Answer with the path that was asked for."""
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def tool() -> Path:
    """The compiled tool."""
    return go_programs.build("load")


@pytest.fixture
def url() -> Iterator[str]:
    """Where the server takes bodies. It has taken none yet."""
    Ingest.ids, Ingest.refuses, Ingest.asked = [], False, []
    with ThreadingHTTPServer((HOST, 0), Ingest) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}/v1/events"
        server.shutdown()
        thread.join()


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """A file with two bodies."""
    made = bodies.bodies("json", "identity", 2, events_per_body=EVENTS, now_ms=NOW_MS, seed=1)
    bodies.write(tmp_path / "bodies", made)
    return tmp_path / "bodies"


def run(tool: Path, *arguments: str) -> dict[str, Any]:
    """What the tool prints."""
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=True, timeout=60)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_fresh_ids_are_those_of_acknowledged_requests(tool: Path, url: str, sent: Path, tmp_path: Path) -> None:
    kept = tmp_path / "acknowledged"
    told = run(
        tool,
        *(f"-url={url}", f"-bodies={sent}", f"-events={EVENTS}", "-connections=2", "-seconds=30", "-requests-max=7"),
        *("-fresh-ids", "-client=2", f"-acknowledged={kept}"),
    )
    assert (told["statuses"], told["acknowledged"], told["broken"]) == ({"202": 7}, 7 * EVENTS, 0)
    written = np.frombuffer(bytes.fromhex("".join(Ingest.ids).replace("-", "")), np.uint8).reshape(-1, 16)
    acknowledged = ingest_recount.acknowledged_requests(kept, 2)
    expected = ingest_recount.expected_keys(acknowledged, EVENTS)
    assert np.sort(ingest_recount.keys_of(written)).tolist() == expected.tolist()
    assert len(set(expected.tolist())) == 7 * EVENTS


def test_only_who_ignores_refusals_goes_on_after_one(tool: Path, url: str, sent: Path) -> None:
    Ingest.refuses = True
    common = (f"-url={url}", f"-bodies={sent}", "-connections=1", "-seconds=0.5", "-rate=40")
    polite, rude = run(tool, *common), run(tool, *common, "-ignores-refusals")
    assert polite["statuses"] == {"429": 1}
    assert rude["statuses"]["429"] > 1
    assert (polite["acknowledged"], rude["acknowledged"], rude["held_back"]) == (0, 0, 0)


def test_whole_requests_are_sent_as_they_are_and_need_no_word_of_acceptance(
    tool: Path, url: str, tmp_path: Path
) -> None:
    bodies.write(tmp_path / "asked", [b"GET /a?b=c:d\n", b"GET /e\n", b'POST /f\n{"events":[]}'])
    told = run(
        tool,
        *(f"-url={url}", f"-bodies={tmp_path / 'asked'}", "-connections=1", "-seconds=30", "-requests-max=3", "-whole"),
    )
    assert (told["statuses"], told["broken"], told["acknowledged"]) == ({"200": 2, "202": 1}, 0, 0)
    assert Ingest.asked == ["/a?b=c:d", "/e"]
    assert told["answer_bytes"] == len("/a?b=c:d" + "/e" + '{"accepted": 0}')


def test_a_body_that_is_no_whole_request_is_refused(tool: Path, url: str, tmp_path: Path) -> None:
    bodies.write(tmp_path / "asked", [b"GET /a\n", b"/b"])
    command = [str(tool), f"-url={url}", f"-bodies={tmp_path / 'asked'}", "-whole"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "body 1" in done.stderr
    assert "the first line is METHOD /PATH" in done.stderr


@pytest.mark.parametrize("address", ["192.0.2.1:80", "example.com:80", "127.0.0.1", "0.0.0.0:80"])
def test_nothing_but_this_machine_is_sent_to(tool: Path, sent: Path, address: str) -> None:
    done = subprocess.run(
        [tool, f"-url=http://{address}/v1/events", f"-bodies={sent}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "give http, a loopback address" in done.stderr
