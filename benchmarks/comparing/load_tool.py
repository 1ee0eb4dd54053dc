"""Runs the load tool of benchmarks/peers/load, and returns what it printed."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparing.service_host import BenchError

# How much longer than it sends the load tool may take: for its last answers, and to read its bodies.
LOAD_SLACK_S = 60.0


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
    """What the load tool printed. Raises BenchError if it failed or did not end."""
    try:
        out, errors = process.communicate(timeout=seconds + LOAD_SLACK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise BenchError(f"the load tool did not end {LOAD_SLACK_S:.0f} s after its time") from None
    if process.returncode != 0:
        raise BenchError(f"the load tool failed: {errors.strip()}")
    told: dict[str, Any] = json.loads(out)
    return told


def load(tool: Path, url: str, plan: LoadPlan) -> dict[str, Any]:
    """Send as planned, and return what the load tool printed."""
    return load_figures(start_load(tool, url, plan), plan.seconds)
