"""Runs services of ingest beside a Kafka, and the load tool against them. Knows processes, and no figures' meaning.

With two cores or more, each service is alone on the first core, and Kafka, the load tool and this process share the
others. A process inherits the cores of the one that starts it.
"""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.contenders.ingest_services import Place, Service
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
# How much longer than it sends the load tool may take: for its last answers, and to read its bodies.
LOAD_SLACK_S = 60.0


class IngestBenchError(RuntimeError):
    """A service or the load tool did not do what it was asked for."""


@contextlib.contextmanager
def cores(chosen: set[int]) -> Iterator[None]:
    """What starts inside runs on these cores alone; on all if there are none."""
    before = os.sched_getaffinity(0)
    if chosen:
        os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def shares(available: set[int], *, is_pinned: bool) -> tuple[set[int], set[int]]:
    """(cores of the services, cores of everything else); both are empty if nothing is held to a core."""
    if not is_pinned or len(available) < 2:
        return set(), set()
    first = min(available)
    return {first}, available - {first}


@dataclass(frozen=True)
class Running:
    """A service that answers, and its process."""

    service: Service
    place: Place
    process: psutil.Process

    def cpu_s(self) -> float:
        """User and system time of the process and of its children, so far."""
        total = 0.0
        for one in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
        return total


@contextlib.contextmanager
def running(
    service: Service, place: Place, environment: Mapping[str, str], on: set[int], log: Path
) -> Iterator[Running]:
    """The service, ready, until the context ends. Raises IngestBenchError if it does not become ready."""
    variables = {**environment, **service.variables(place), **service.access.environment}
    with log.open("wb") as out, cores(on):
        # Python finds the service's code in the folder in which it starts.
        folder = service.folder or repository()
        variables = known(variables, (folder / "docs" / "settings.md").read_text(encoding="utf-8"))
        process = subprocess.Popen(service.command(place), cwd=folder, env=variables, stdout=out, stderr=out)
    try:
        _wait_ready(service, place, process, log)
        yield Running(service, place, psutil.Process(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def known(variables: Mapping[str, str], page: str) -> dict[str, str]:
    """The variables without those settings that the page of all settings lacks: an older checkout refuses these."""
    names = set(re.findall(r"VIEW_COUNTS_[A-Z0-9_]+", page))
    return {name: text for name, text in variables.items() if name in names or not name.startswith("VIEW_COUNTS_")}


def _wait_ready(service: Service, place: Place, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            answer = httpx2.get(f"http://{HOST}:{place.port}/readyz", trust_env=False)
            if answer.status_code == httpx2.codes.OK:
                return
        time.sleep(0.1)
    printed = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise IngestBenchError(f"{service.name} did not become ready within {READY_WITHIN_S:.0f} s:\n{printed}")


@dataclass(frozen=True)
class LoadPlan:
    """What one run of the load tool sends. Without a rate it is the closed loop."""

    bodies: Path
    events_per_body: int
    headers: Mapping[str, str]
    connections: int
    seconds: float
    rate: float = 0.0
    cpu: float = 0.5
    more: Sequence[str] = ()

    def command(self, tool: Path, url: str) -> list[str]:
        """The command line."""
        headers = [f"-header={name}: {value}" for name, value in self.headers.items()]
        return [
            *(str(tool), f"-url={url}", f"-bodies={self.bodies}", f"-events={self.events_per_body}", *headers),
            *(f"-connections={self.connections}", f"-seconds={self.seconds}", f"-rate={self.rate}", f"-cpu={self.cpu}"),
            *self.more,
        ]


def start_load(tool: Path, url: str, plan: LoadPlan) -> "subprocess.Popen[str]":
    """Start the load tool; `load_figures` waits for it."""
    return subprocess.Popen(plan.command(tool, url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def load_figures(process: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
    """What the load tool printed. Raises IngestBenchError if it failed or did not end."""
    try:
        out, errors = process.communicate(timeout=seconds + LOAD_SLACK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise IngestBenchError(f"the load tool did not end {LOAD_SLACK_S:.0f} s after its time") from None
    if process.returncode != 0:
        raise IngestBenchError(f"the load tool failed: {errors.strip()}")
    told: dict[str, Any] = json.loads(out)
    return told


def load(tool: Path, url: str, plan: LoadPlan) -> dict[str, Any]:
    """Send as planned, and return what the load tool printed."""
    return load_figures(start_load(tool, url, plan), plan.seconds)
