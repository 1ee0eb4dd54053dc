"""`run` as a newcomer types it: everything starts, counts, is shown, ends with Ctrl-C, and goes on from its data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import mmh3
import psutil
import pytest

from settings import Settings
from tools.stack import memory
from tools.stack.layout import HOME_VARIABLE, repository
from tools.stack.machine.local_http import open_local
from tools.stack.machine.ports import HOST, environment_variable, free_ports
from tools.stack.parts import PARTS

COUNTING_S = 240.0
STOPPED_S = 120.0
BUDGETS_MIB = {**{part.name: part.memory_mib for part in PARTS}, "others": memory.OTHERS_MIB}
# Not a video of the demo.
VIDEO = "test-run"


def environment(home: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Of a command line whose stack is there."""
    variables = {environment_variable(name): str(port) for name, port in ports.items()}
    return {**os.environ, **variables, HOME_VARIABLE: str(home), "TERM": "dumb"}


class Run:
    """`python -m tools.cli run` without a terminal; entered, it runs, and left, it is gone for certain."""

    def __init__(self, home: Path, ports: Mapping[str, int], *arguments: str) -> None:
        self._log = home.with_suffix(".log")
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.cli", "run", *arguments],
                cwd=repository(),
                env=environment(home, ports),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Killed, it takes everything with it.
        self._process.kill()
        self._process.wait()

    @property
    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def latest(self, name: str) -> int | None:
        """The number of a counter in the newest status line; None while there is no line, or it is not known."""
        found = re.findall(rf"; {name} ([\d,]+)", self.printed)
        return int(found[-1].replace(",", "")) if found else None

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self._process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.2)

    def memory(self) -> dict[str, float]:
        """MiB of each part, and of the command with its demo, supervisord and what watches the parts."""
        return {one.part or "others": one.mib for one in memory.used_below(self._process.pid)}

    def end(self) -> None:
        """Ctrl-C, and look what is left."""
        started = psutil.Process(self._process.pid).children(recursive=True)
        assert len(started) > 10
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(STOPPED_S) == 0, self.printed
        assert "stopped; the data stays in" in self.printed
        assert "Traceback" not in self.printed
        assert not [process for process in started if process.is_running()]


class Commands:
    """`python -m tools.cli ...` for the stack that runs there; what it prints."""

    def __init__(self, home: Path, ports: Mapping[str, int]) -> None:
        self._environment = {**environment(home, ports), "COLUMNS": "200"}

    def __call__(self, *arguments: str, fed: str = "", ends_with: int = 0) -> str:
        finished = subprocess.run(
            [sys.executable, "-m", "tools.cli", *arguments],
            cwd=repository(),
            env=self._environment,
            input=fed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert finished.returncode == ends_with, finished.stdout
        return finished.stdout


def send(ingest: int, *events: dict[str, str]) -> None:
    body = json.dumps({"events": events}).encode()
    request = urllib.request.Request(
        f"http://{HOST}:{ingest}/v1/events", data=body, headers={"Content-Type": "application/json"}
    )
    with open_local(request, timeout_s=60) as answer:
        assert json.load(answer)["accepted"] == len(events)


def views(query: int, kind: str = "view") -> int:
    url = f"http://{HOST}:{query}/v1/videos/{VIDEO}/views?kind={kind}"
    with open_local(url, timeout_s=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return int(found["views"])


def title(query: int, kind: str) -> str | None:
    """Of the video, in the newest list of the hour."""
    with open_local(f"http://{HOST}:{query}/v1/top?kind={kind}", timeout_s=60) as answer:
        return {video["video_id"]: video["title"] for video in json.load(answer)["videos"]}.get(VIDEO)


def event(kind: str = "view", salt: int | None = None) -> dict[str, str]:
    """An event viewed now; with `salt`, under an id of that salt."""
    event_id = uuid.uuid4()
    while salt is not None and salt_of(event_id) != salt:
        event_id = uuid.uuid4()
    viewed_at = datetime.now(UTC).isoformat()
    return {"event_id": str(event_id), "video_id": VIDEO, "viewed_at": viewed_at, "kind": kind}


def salt_of(event_id: uuid.UUID) -> int:
    return mmh3.hash(event_id.bytes, 0, False) % Settings().counting.salts


def first_run(home: Path, ports: Mapping[str, int]) -> list[dict[str, str]]:
    """The first run of a stack, to its end. Returns the events of the video that it has counted."""
    first = [event() for _ in range(7)]
    with Run(home, ports, "--events-per-second", "200") as run:
        run.wait(lambda: "first count visible after" in run.printed, COUNTING_S)
        assert "the count job is submitted" in run.printed
        run.wait(lambda: "the archive job is submitted" in run.printed, COUNTING_S)
        send(ports["ingest"], *first)
        run.wait(lambda: views(ports["query"]) == 7, COUNTING_S)
        run.wait(lambda: (run.latest("counted") or 0) > 0 and (run.latest("duplicates") or 0) > 0, COUNTING_S)
        assert "freshness" in run.printed
        # The parts that wait for the first count, behind a balancer of which clients notice nothing.
        for part in PARTS:
            if part.comes_after_first_count:
                run.wait(lambda title=part.title: f"{title} is ready" in run.printed, COUNTING_S)  # type: ignore[misc]
        send(ports["ingest"], event("later"))
        has = run.memory()
        assert has.keys() == BUDGETS_MIB.keys()
        assert {name: mib for name, mib in has.items() if mib > BUDGETS_MIB[name]} == {}
        run.end()
    return first


def test_run_counts_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    first_run(tmp_path / "home", free_ports())


@pytest.mark.nightly
def test_run_counts_a_second_run_goes_on_where_the_first_was_stopped_and_is_upgraded(tmp_path: Path) -> None:
    ports = free_ports()
    first = first_run(tmp_path / "home", ports)
    with Run(tmp_path / "home", ports, "--no-demo") as run:
        run.wait(lambda: "the count job goes on where it was" in run.printed, COUNTING_S)
        assert views(ports["query"]) == 7
        commands = Commands(tmp_path / "home", ports)
        known = {"title": "Títle", "channel_id": "c", "channel_name": "C", "created_at": "2026-01-01T00:00:00Z"}
        assert commands("metadata", "-", fed=json.dumps({"video_id": VIDEO, **known})) == "1 videos published\n"
        assert "line 1: Object missing required field `title`" in commands(
            "metadata", "-", fed=json.dumps({"video_id": VIDEO}), ends_with=1
        )
        assert commands("block", "somebody").startswith("blocked, for views that arrive from ")
        assert "somebody" in commands("blocked")
        assert "choose" in commands("unblock", "somebody", "--from", "2026-01-01T00:00:00Z", ends_with=1)
        send(ports["ingest"], *first, *(event() for _ in range(3)))
        # One more for each repeat, after it in its salt: once it is counted, the repeat has been judged. A video's
        # kinds are written together, so that a repeat counted again would be visible by then.
        markers = [event("marker", salt_of(uuid.UUID(repeat["event_id"]))) for repeat in first]
        send(ports["ingest"], *markers)
        run.wait(lambda: views(ports["query"], "marker") == len(markers), COUNTING_S)
        run.wait(lambda: views(ports["query"]) >= 10, COUNTING_S)
        assert views(ports["query"]) == 10
        run.wait(lambda: (run.latest("duplicates") or 0) >= 7, COUNTING_S)
        run.wait(lambda: title(ports["query"], "marker") == "Títle", COUNTING_S)

        # What cannot run is refused while the old job counts on: by the job's own check, and for lack of slots.
        refused = commands("upgrade", "--parallelism", "500", ends_with=1)
        assert refused.startswith("nothing was stopped, and job ")
        assert refused.splitlines()[-1].startswith("refused: parallelism=500 is above VIEW_COUNTS_COUNTING_MAX_")
        assert len(refused.splitlines()) < 5
        refused = commands("upgrade", "--parallelism", "4", ends_with=1)
        assert "needs 4 slots, and there are 3: 1 free and 2 of the job that runs" in refused
        # The same code stands for the next: what it must not lose or repeat is the same.
        assert "the ledger holds" in commands("upgrade", "--parallelism", "1")
        send(ports["ingest"], *first, event())
        run.wait(lambda: views(ports["query"]) >= 11, COUNTING_S)
        assert views(ports["query"]) == 11
        run.end()
