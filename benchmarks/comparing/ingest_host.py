"""Runs services of ingest beside a Kafka. Knows their places, and no figures' meaning."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.comparing import service_host
from benchmarks.comparing.service_host import Program
from benchmarks.contenders.ingest_services import Place, Service
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST


@dataclass(frozen=True)
class Running:
    """A service that answers, and its process."""

    service: Service
    place: Place
    process: psutil.Process

    def cpu_s(self) -> float:
        """User and system time of the process and of its children, so far."""
        return service_host.cpu_s(self.process)


@contextlib.contextmanager
def running(
    service: Service, place: Place, environment: Mapping[str, str], on: set[int], log: Path
) -> Iterator[Running]:
    """The service, ready, until the context ends. Raises BenchError if it does not become ready."""
    program = Program(
        service.name,
        service.command(place),
        {**environment, **service.variables(place), **service.access.environment},
        service.folder or repository(),
        f"http://{HOST}:{place.port}/readyz",
        log,
    )
    with service_host.running(program, on) as process:
        yield Running(service, place, process)
