"""The turns of the benchmark of ingest: which bodies are sent to which service, in which order.

Services take turns with each kind of body, and the whole list is repeated, so that what else the machine does meets all
alike.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparing.ingest_host import Running
from benchmarks.comparing.load_tool import LoadPlan, load
from benchmarks.contenders.ingest_services import Service
from benchmarks.inputs import bodies
from benchmarks.measuring import ingest_figures

# By the events of a body: connections that are enough to fill a core, and how many bodies are made beforehand.
CONNECTIONS = {1: 400, 100: 256, 1000: 32}
BODIES = {1: 4000, 100: 300, 1000: 40}
SEED = 22


@dataclass(frozen=True)
class Case:
    """One kind of body."""

    form: str
    encoding: str
    events_per_body: int

    @property
    def headers(self) -> Mapping[str, str]:
        """What the request says of its body."""
        packed = {} if self.encoding == "identity" else {"Content-Encoding": self.encoding}
        return {"Content-Type": bodies.MEDIA[self.form], **packed}

    @property
    def file(self) -> str:
        """The name of the file with the bodies."""
        return f"{self.form}-{self.encoding}-{self.events_per_body}"

    def described(self) -> dict[str, Any]:
        """The case as the first columns of a row."""
        return {"form": self.form, "encoding": self.encoding, "events_per_body": self.events_per_body}


SINGLE = Case("json", "identity", 1)


def cases(services: Iterable[Service], sizes: Sequence[int] = tuple(CONNECTIONS)) -> list[Case]:
    """Every kind of body that at least one service understands, the largest bodies first."""
    known = list(services)
    return [
        case
        for size in sorted(sizes, reverse=True)
        for form in bodies.MEDIA
        for encoding in bodies.ENCODINGS
        if any(understands(service, case := Case(form, encoding, size)) for service in known)
    ]


def understands(service: Service, case: Case) -> bool:
    """Whether a service takes bodies of this kind."""
    return case.form in service.forms and case.encoding in service.encodings


def schedule(services: Sequence[Service], chosen: Sequence[Case], turns: int) -> Iterator[tuple[int, Case, Service]]:
    """(turn, case, service) in the order of measurement. Every second turn has the services in reverse."""
    for turn in range(turns):
        order = services if turn % 2 == 0 else services[::-1]
        yield from ((turn, case, service) for case in chosen for service in order if understands(service, case))


class Sender:
    """Has the bodies of each case, and measures one run of the load tool at a time."""

    def __init__(self, tool: Path, folder: Path) -> None:
        self.tool = tool
        self._folder = folder

    def plan(self, case: Case, service: Service, seconds: float, **more: Any) -> LoadPlan:
        """What is sent to a service, from bodies that are made when they are first asked for."""
        path = self._folder / case.file
        if not path.exists():
            made = bodies.bodies(
                case.form,
                case.encoding,
                BODIES[case.events_per_body],
                events_per_body=case.events_per_body,
                now_ms=int(time.time() * 1000),
                seed=SEED,
            )
            bodies.write(path, made)
        headers = {**case.headers, **service.access.headers}
        return LoadPlan(path, case.events_per_body, headers, CONNECTIONS[case.events_per_body], seconds, **more)

    def measure(self, running: Running, plan: LoadPlan) -> dict[str, Any]:
        """Send as planned, and return the figures of the run."""
        before = running.cpu_s()
        told = load(self.tool, running.place.url, plan)
        return ingest_figures.turn(told, running.cpu_s() - before)
