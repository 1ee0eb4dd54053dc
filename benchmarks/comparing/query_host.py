"""Runs query services beside a Cassandra, and the load tool against them. Knows no figures' meaning."""

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.comparing import service_host
from benchmarks.comparing.load_tool import LoadPlan, load
from benchmarks.comparing.query_turns import Case
from benchmarks.comparing.service_host import BenchError, Program
from benchmarks.contenders.query_services import Place, Service
from benchmarks.measuring.cpu import cpu_seconds
from settings import CassandraSettings, Settings
from tools.stack import Stack
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST, free_ports
from tools.stack.object_store import s3_settings

# The load tool needs a few µs for a request. Its core is Cassandra's, too.
LOAD_CPU = 0.9


class Host:
    """Services by name, each in a process that can be started again. A context manager that stops them all."""

    def __init__(self, stores: Stack, own: set[int], folder: Path) -> None:
        self.folder = folder
        self.settings = Settings().model_copy(
            update={
                "cassandra": CassandraSettings(hosts=HOST, port=stores.ports["cassandra"]),
                "s3": s3_settings(stores),
            }
        )
        self._stores = stores
        self._environment = stores.process_environment()
        self._own = own
        self._places: dict[str, Place] = {}
        self._running: dict[str, tuple[ExitStack, psutil.Process]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as all_of_them:
            for context, _ in self._running.values():
                all_of_them.push(context)

    def url(self, service: Service) -> str:
        """Where it answers."""
        return self._place(service).url

    def start(self, service: Service) -> None:
        """Return when it is ready. Raises BenchError."""
        place = self._place(service)
        program = Program(
            service.name,
            service.command(place),
            {**self._environment, **service.variables(place)},
            service.folder or repository(),
            f"{place.url}/readyz",
            self.folder / f"{service.name}.log",
        )
        context = ExitStack()
        process = context.enter_context(service_host.running(program, self._own))
        self._running[service.name] = context, process

    def stop(self, service: Service) -> None:
        """Return when its process has ended."""
        context, _ = self._running.pop(service.name)
        context.close()

    def cpu_s(self, service: Service) -> float:
        """User and system time of its process so far."""
        return service_host.cpu_s(self._running[service.name][1])

    def pin_stores(self, others: set[int]) -> None:
        """Hold the stores to these cores, after they had all."""
        for part in self._stores.parts:
            service_host.pin(psutil.Process(self._stores.pid(part.name)), others)

    def cassandra_cpu_s(self) -> float:
        """User and system time of Cassandra so far."""
        return cpu_seconds(self._stores)["cassandra"]

    def load(self, service: Service, tool: Path, case: Case, made: Path, seconds: float) -> dict[str, Any]:
        """Ask the questions of a file, and return what the load tool printed. Raises BenchError."""
        headers = {"Content-Type": "application/json"} if case.is_batch else {}
        more = ("-whole", "-ignores-refusals")
        plan = LoadPlan(made, 1, headers, case.connections, seconds, rate=case.rate, cpu=LOAD_CPU, more=more)
        return load(tool, self.url(service), plan)

    def _place(self, service: Service) -> Place:
        if service.name not in self._places:
            ports = free_ports([f"public-{service.name}", f"private-{service.name}"])
            cassandra = self.settings.cassandra
            self._places[service.name] = Place(
                ports[f"public-{service.name}"], ports[f"private-{service.name}"], cassandra.port, cassandra.keyspace
            )
        return self._places[service.name]


@contextlib.contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of a commit of this repository, until the context ends. Raises BenchError."""
    made = _git("worktree", "add", "--detach", str(folder), commit)
    if made.returncode != 0:
        raise BenchError(
            f"baseline={commit}: there is no checkout of it ({made.stderr.strip()}); fetch it by `git fetch "
            "--unshallow`, or leave it out by --baseline ''"
        )
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=repository(), capture_output=True, text=True, check=False)
