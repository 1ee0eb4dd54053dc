"""The local stack as one object: starts, shows, kills, restarts and stops its parts.

It combines the list of parts, their supervision and their ready checks. Tests, benchmarks and the command line use this
module and none below it. It must not know what the jobs and services do.
"""

import contextlib
import json
import os
import shutil
import signal as signals
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

import psutil

from tools.processes import process_variable
from tools.stack import files, flink, preflight, supervision
from tools.stack.layout import Layout
from tools.stack.machine import limits
from tools.stack.machine.environment import inherited, without_proxy
from tools.stack.machine.java import java_home
from tools.stack.machine.ports import DEFAULT_PORTS, HOST, default_ports, free_ports, is_busy
from tools.stack.machine.private_files import for_owner_alone
from tools.stack.memory import pss_mib
from tools.stack.parts import PARTS, PARTS_BY_NAME, STORE_KEYS, Context, Part, PartError, processes_of
from tools.stack.ready import Probe, http_get_json

POLL_S = 0.1
LOG_TAIL_LINES = 25
JOBS_ANSWER_S = 60.0
PYTHON_WORKER_MODULE = "pyflink.fn_execution.beam.beam_boot"
FINAL_JOB_STATES = frozenset({"CANCELED", "FAILED", "FINISHED"})
ALL_PARTS = tuple(part.name for part in PARTS)
# One process of each service, to which clients connect: what counting needs, and tests and benchmarks measure.
PARTS_WITHOUT_BALANCER = tuple(part.name for part in PARTS if part.name not in ("haproxy", "ingest_2", "query_2"))
# Longer than the balancer's checks take to see that a process leaves (tools/balancer).
LEAVING_S = 3

Progress = Callable[[str, str, float], None]


class StackRunningError(RuntimeError):
    """Another process runs a stack in this home."""


@dataclass(frozen=True)
class StackOptions:
    """What to start, and where.

    `home` has data, logs and configuration. A stack that is started there again continues with its data. `ports` is
    "default" (the usual numbers, or VIEW_COUNTS_PORT_*) or "free" (any free ports, which stay the same for the home).
    `flink_overrides` replace settings of flink-conf/config.yaml. `environment` is given to every part, and replaces
    what the stack sets. `graceful_stop=False` ends everything at once, for a home that is thrown away.
    """

    home: Path
    ports: Literal["default", "free"] = "default"
    parts: tuple[str, ...] = PARTS_WITHOUT_BALANCER
    taskmanager_slots: int | None = None
    flink_overrides: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    graceful_stop: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(ALL_PARTS))
        if unknown:
            raise PartError(f"parts={unknown}: there is no such part; the parts are {', '.join(ALL_PARTS)}")


@dataclass(frozen=True)
class PartStatus:
    """The present state of one part. `pid` is the part's own process, and None if there is none."""

    name: str
    state: str
    pid: int | None
    ports: Mapping[str, int]
    ready: bool


class Stack:
    """A running stack, or one that can be started.

    The process that calls `start` owns it: everything ends with that process, even if it is killed. With `attach`
    another process can use the stack in the same way, except for `start`.
    """

    def __init__(self, options: StackOptions) -> None:
        self._options = options
        self.layout = Layout(options.home.resolve())
        self.ports: Mapping[str, int] = self._choose_ports()
        self.parts: tuple[Part, ...] = tuple(part for part in PARTS if part.name in options.parts)
        # Seconds from the call of start() until each part was ready.
        self.ready_after_s: dict[str, float] = {}
        self._supervisor = supervision.Supervisor(self.layout)
        self._lifeline: supervision.Lifeline | None = None

    @classmethod
    def attach(cls, home: Path) -> Self:
        """The stack that another process runs in `home`. Raises SupervisorGoneError when there is none."""
        layout = Layout(home.resolve())
        try:
            state = json.loads(layout.state_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise supervision.SupervisorGoneError("the stack is not running") from error
        stack = cls(StackOptions(home=home, parts=tuple(state["parts"])))
        # A stack that an older version has started has no balancer, and its services listen where clients connect.
        stack.ports = {f"{name}_1": state["ports"][name] for name in ("ingest", "query")} | state["ports"]
        if not stack._supervisor.answers():
            raise supervision.SupervisorGoneError("the stack is not running")
        return stack

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, progress: Progress = lambda _name, _event, _seconds: None, *, later: Sequence[str] = ()) -> None:
        """Start all parts, each as soon as those that it depends on are ready, and return when all are ready.

        Those in `later` are left to `start_part`.

        `progress(part, "starting" | "ready", seconds since the call)` may be called from other threads. Raises
        PreflightError before anything starts, and PartError if a part fails. Then nothing is left running.
        """
        if self._supervisor.answers():
            raise StackRunningError(f"a stack runs in {self.layout.home} already: `vc down` stops it")
        # All parts inherit the limits.
        limits.raise_limits()
        preflight.check(self.layout, self.parts, self.ports)
        self._write_files()
        self._lifeline = supervision.Lifeline(self.layout, self.shared_environment())
        try:
            self._await(self._supervisor.answers, 20, "supervisord did not start", "supervisord-start")
            self._start_parts(progress, [part for part in self.parts if part.name not in later])
        except BaseException:
            self._lifeline.cut()
            self._clean_up()
            raise

    def stop(self) -> None:
        """Stop all parts, first those that use others, and wait until no process is left."""
        if self._options.graceful_stop:
            with contextlib.suppress(supervision.SupervisorGoneError):
                self._stop_in_order()
        if self._lifeline is not None:
            self._lifeline.cut()
        else:
            with contextlib.suppress(supervision.SupervisorGoneError):
                self._supervisor.shut_down()
            self._await(lambda: not self._supervisor.answers(), 30, "supervisord did not stop", "supervisord")
        self._clean_up()

    def _clean_up(self) -> None:
        context = self._context()
        for part in self.parts:
            part.clean_up(context)
        for name in ("supervisor", "s3", "filer", "haproxy"):
            self.layout.socket(name).unlink(missing_ok=True)

    def running(self) -> bool:
        """Whether supervisord runs. Parts may be down or be restarting."""
        return self._lifeline.running() if self._lifeline is not None else self._supervisor.answers()

    # --- look

    def status(self) -> list[PartStatus]:
        """Every part as it is now, in the order of the list. Raises SupervisorGoneError."""
        states = self._supervisor.states()
        found = []
        for part in self.parts:
            pid = self._pid(part.name)
            is_ready = pid is not None and part.ready(Probe(self.ports, pid))
            # A stack that an older version has started may lack some ports.
            ports = {name: self.ports[name] for name in part.ports if name in self.ports}
            found.append(PartStatus(part.name, states[part.name], pid, ports, is_ready))
        return found

    def memory_mib(self) -> dict[str, float]:
        """The PSS of each part with all processes below it, in MiB; 0 for a part that does not run."""
        pids = {part.name: self._pid(part.name) for part in self.parts}
        return {name: 0.0 if pid is None else pss_mib(pid) for name, pid in pids.items()}

    def wait_ready(self, *names: str, timeout_s: float = 120.0) -> None:
        """Wait until the named parts, or all, are ready. Raises PartError."""
        deadline = time.monotonic() + timeout_s
        for name in names or [part.name for part in self.parts]:
            self._wait_part(self._part(name), deadline - time.monotonic())

    def pid(self, name: str) -> int:
        """The process id of the part itself (the JVM, not what watches it). Raises PartError."""
        pid = self._pid(self._part(name).name)
        if pid is None:
            raise PartError(f"{name} is not running")
        return pid

    def python_workers(self) -> list[int]:
        """Process ids of the TaskManager's Python workers."""
        found = []
        for process in psutil.Process(self.pid("taskmanager")).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if PYTHON_WORKER_MODULE in command and "python" in Path(command[0]).name:
                    found.append(process.pid)
        return found

    def logs(self, name: str, lines_max: int | None = None) -> str:
        """What the part has printed since its log was last rotated, or the last `lines_max` lines of it."""
        path = self.layout.log_file(name)
        if not path.exists():
            return ""
        text = path.read_text(encoding="utf-8", errors="replace")
        return text if lines_max is None else "\n".join(text.splitlines()[-lines_max:])

    @property
    def endpoints(self) -> Mapping[str, str]:
        """How to reach each part: URLs for HTTP, host:port for the others."""
        http = (
            *("s3", "flink", "jobmanager_metrics", "taskmanager_metrics"),
            *("ingest_private", "ingest_2_private", "query_private", "query_2_private", "balancer_private"),
        )
        plain = ("kafka", "cassandra", "redis", "zookeeper")
        return {
            # Where clients connect: to the balancer, or to the one process.
            **{name: f"http://{HOST}:{self.ports[self._door(name)]}" for name in ("ingest", "query")},
            **{
                name: f"https://{HOST}:{self.ports[name]}" for name in ("ingest_tls", "query_tls") if name in self.ports
            },
            # A stack that an older version has started may lack some ports.
            **{name: f"http://{HOST}:{self.ports[name]}" for name in http if name in self.ports},
            **{name: f"{HOST}:{self.ports[name]}" for name in plain if name in self.ports},
        }

    def private_addresses(self, service: str) -> list[str]:
        """host:port of the private port of each process of a service that this stack has."""
        processes = processes_of(service, (part.name for part in self.parts))
        return [f"{HOST}:{self.ports[private]}" for _, private in (part.ports for part in processes)]

    # --- kill and restart

    def kill(self, name: str, signal: int = signals.SIGKILL) -> int:
        """Send a signal to the part's own process, and return its id. After SIGKILL it has ended on return.

        supervisord starts it again. `wait_ready` waits until it is ready.
        """
        pid = self.pid(name)
        process = psutil.Process(pid)
        process.send_signal(signal)
        if signal == signals.SIGKILL:
            psutil.wait_procs([process], timeout=10)
        return pid

    def kill_python_worker(self) -> int:
        """Kill one of the TaskManager's Python workers with -9, and return its process id. Raises PartError."""
        workers = self.python_workers()
        if not workers:
            raise PartError("taskmanager: no Python worker runs; check that a job runs")
        os.kill(workers[0], signals.SIGKILL)
        return workers[0]

    def stop_part(self, name: str) -> None:
        """Stop one part, which stays stopped until `start_part`."""
        self._supervisor.stop(self._part(name).name, wait=True)

    def start_part(self, name: str) -> None:
        """Start a stopped part and wait until it is ready."""
        part = self._part(name)
        part.prepare(self._context())
        self._supervisor.start(name)
        self._wait_part(part, part.ready_timeout_s)

    def restart(self, name: str) -> None:
        """Stop one part by a signal that lets it finish, start it, and wait until it is ready."""
        self.stop_part(name)
        self.start_part(name)

    # --- Flink

    def flink(
        self, *arguments: str, timeout_s: float = 180.0, variables: Mapping[str, str | None] = MappingProxyType({})
    ) -> str:
        """Run Flink's own command line against this cluster, such as `flink("cancel", job_id)`. Returns its output.

        `variables` replace variables of its environment, and None removes one. Raises FlinkCommandError.
        """
        changed = {**self.process_environment(), **variables}
        environment = {name: value for name, value in changed.items() if value is not None}
        return flink.run_client(self.layout, arguments, environment, timeout_s=timeout_s)

    def flink_run(
        self,
        arguments: Sequence[str],
        *,
        timeout_s: float = 180.0,
        variables: Mapping[str, str | None] = MappingProxyType({}),
    ) -> str:
        """Run `flink run -d ...`, and return the job's id. Give `-py FILE` or `-pym MODULE`, then its arguments."""
        printed = self.flink("run", "-d", *arguments, timeout_s=timeout_s, variables=variables)
        return flink.job_id(printed)

    def flink_stop(self, job_id: str, *, timeout_s: float = 180.0) -> str:
        """Stop the job with a savepoint, and return the savepoint's path."""
        return flink.savepoint_path(self.flink("stop", job_id, timeout_s=timeout_s))

    def flink_savepoint(self, job_id: str, *, timeout_s: float = 180.0) -> str:
        """Take a savepoint of a job that continues to run, and return the savepoint's path."""
        return flink.savepoint_path(self.flink("savepoint", job_id, timeout_s=timeout_s))

    def flink_rest(self, path: str) -> Any:
        """The decoded answer of Flink's REST interface, or None while it does not answer."""
        return http_get_json(self.endpoints["flink"] + path)

    def jobs(self) -> dict[str, str]:
        """The state of each job by its id, also of finished jobs. Empty while the JobManager is away."""
        answer = self.flink_rest("/jobs/overview") or {"jobs": []}
        return {job["jid"]: job["state"] for job in answer["jobs"]}

    def unfinished_jobs(self) -> dict[str, str]:
        """The names of the jobs that run, restart or are being restored, by id.

        Waits for the JobManager's answer. Raises PartError if there is none.
        """
        answers: list[Any] = []

        def is_answered() -> bool:
            answers.append(self.flink_rest("/jobs/overview"))
            return answers[-1] is not None

        self._await(is_answered, JOBS_ANSWER_S, "the JobManager does not list its jobs", "jobmanager")
        return {job["jid"]: job["name"] for job in answers[-1]["jobs"] if job["state"] not in FINAL_JOB_STATES}

    # --- environment

    def environment(self) -> dict[str, str]:
        """The variables with which a process uses this stack: VIEW_COUNTS_* settings, FLINK_* folders, caches."""
        return {
            "VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS": self.endpoints["kafka"],
            "VIEW_COUNTS_CASSANDRA_HOSTS": HOST,
            "VIEW_COUNTS_CASSANDRA_PORT": str(self.ports["cassandra"]),
            "VIEW_COUNTS_REDIS_HOST": HOST,
            "VIEW_COUNTS_REDIS_PORT": str(self.ports.get("redis", DEFAULT_PORTS["redis"])),
            "VIEW_COUNTS_S3_ENDPOINT": self.endpoints["s3"],
            "VIEW_COUNTS_S3_ACCESS_KEY": files.S3_ACCESS_KEY,
            "VIEW_COUNTS_S3_SECRET_KEY": files.S3_SECRET_KEY,
            "VIEW_COUNTS_ACCESS_MODE": "open",
            "VIEW_COUNTS_ACCESS_KEYS_FILE": str(self.layout.home / "keys.json"),
            "VIEW_COUNTS_INGEST_HOST": HOST,
            "VIEW_COUNTS_INGEST_PORT": str(self.ports["ingest_1"]),
            "VIEW_COUNTS_INGEST_PRIVATE_PORT": str(self.ports.get("ingest_private", DEFAULT_PORTS["ingest_private"])),
            "VIEW_COUNTS_QUERY_HOST": HOST,
            "VIEW_COUNTS_QUERY_PORT": str(self.ports["query_1"]),
            "VIEW_COUNTS_QUERY_PRIVATE_PORT": str(self.ports.get("query_private", DEFAULT_PORTS["query_private"])),
            "VIEW_COUNTS_DRAIN_PRIVATE_PORT": str(self.ports.get("drain_private", DEFAULT_PORTS["drain_private"])),
            **self._overflow(),
            **self._behind_balancer(),
            "NUMBA_CACHE_DIR": str(self.layout.numba_cache),
            "TMPDIR": str(self.layout.tmp),
            **without_proxy(),
            **flink.environment(self.layout),
            **self._options.environment,
        }

    def _overflow(self) -> dict[str, str]:
        # Without a drainer, what was stored would never be counted.
        has_drainer = any(part.name == "drain" for part in self.parts)
        return {"VIEW_COUNTS_OVERFLOW_PATH": f"s3://{files.S3_BUCKET}/overflow"} if has_drainer else {}

    def process_environment(self) -> dict[str, str]:
        """`environment`, added to what parts may inherit, with the virtual environment first on PATH."""
        outer = inherited(self.layout.part_home)
        path = f"{self.layout.python.parent}{os.pathsep}{outer['PATH']}"
        home = java_home()
        java = {} if home is None else {"JAVA_HOME": str(home)}
        return {**outer, **java, "PATH": path, **self.environment()}

    def shared_environment(self) -> dict[str, str]:
        """What every part inherits: `process_environment` without secrets, which the parts that need them get apart."""
        return {name: value for name, value in self.process_environment().items() if name not in STORE_KEYS}

    # --- helpers

    @property
    def _has_balancer(self) -> bool:
        return any(part.name == "haproxy" for part in self.parts)

    def _door(self, service: str) -> str:
        """The name of the port to which clients of a service connect."""
        return service if self._has_balancer else f"{service}_1"

    def _behind_balancer(self) -> dict[str, str]:
        """What services are told of the balancer and of each other, and commands of the services' processes."""
        addresses = {service: self.private_addresses(service) for service in ("ingest", "query")}
        told = {process_variable(service): ",".join(found) for service, found in addresses.items() if found}
        if not self._has_balancer:
            # There is nobody to wait for.
            return {**told, "VIEW_COUNTS_INGEST_LEAVING_S": "0", "VIEW_COUNTS_QUERY_LEAVING_S": "0"}
        return {
            **told,
            "VIEW_COUNTS_INGEST_LEAVING_S": str(LEAVING_S),
            "VIEW_COUNTS_QUERY_LEAVING_S": str(LEAVING_S),
            "VIEW_COUNTS_LIMITS_PROCESSES": str(max(1, len(addresses["ingest"]))),
            "VIEW_COUNTS_ACCESS_CLIENT_ADDRESS_HEADER": "X-Forwarded-For",
            "VIEW_COUNTS_ACCESS_TRUSTED_PROXIES": HOST,
            "VIEW_COUNTS_ACCESS_TRUSTED_PROXIES_COUNT": "1",
        }

    def _choose_ports(self) -> Mapping[str, int]:
        if self._options.ports == "default":
            return default_ports()
        if self.layout.state_file.exists():
            # The ports must stay the same: jobs in this home's checkpoints have the addresses of their submission.
            kept: dict[str, int] = json.loads(self.layout.state_file.read_text(encoding="utf-8"))["ports"]
            if not any(is_busy(port) for port in kept.values()):
                # An older version may have written a list that lacks some ports.
                return {**free_ports(DEFAULT_PORTS.keys() - kept.keys()), **kept}
        return free_ports()

    def _part(self, name: str) -> Part:
        if name not in {part.name for part in self.parts}:
            raise PartError(f"{name} is not in this stack: it has {', '.join(p.name for p in self.parts)}")
        return PARTS_BY_NAME[name]

    def _context(self) -> Context:
        slots = self._options.taskmanager_slots
        overrides = {
            **({} if slots is None else {"taskmanager.numberOfTaskSlots": str(slots)}),
            **self._options.flink_overrides,
        }
        flink_settings = flink.settings(self.layout, self.ports, overrides)
        names = tuple(part.name for part in self.parts)
        return Context(self.layout, self.ports, flink_settings, self.process_environment(), names)

    def _write_files(self) -> None:
        # Configuration and scratch files of an earlier run are removed, so that no part reads old ones.
        for folder in (self.layout.conf, self.layout.tmp, self.layout.run):
            shutil.rmtree(folder, ignore_errors=True)
        self.layout.make_folders()
        # Some of the files have secrets.
        with for_owner_alone():
            self._write_configuration()
        state = {"parts": [part.name for part in self.parts], "ports": dict(self.ports)}
        self.layout.state_file.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def _write_configuration(self) -> None:
        context, given = self._context(), self.process_environment()
        flink.write_configuration(self.layout, context.flink_settings, self.ports)
        programs = []
        for part in self.parts:
            for name, render in part.files.items():
                (self.layout.conf / name).write_text(render(self.layout, self.ports), encoding="utf-8")
            own = {name: str(self.ports[port]) for name, port in part.port_variables.items()}
            environment = {**part.environment, **own, **{name: given[name] for name in part.secrets}}
            programs.append(supervision.Program(part.name, part.command(context), environment, part.stop_grace_s))
        configuration = supervision.configuration(self.layout, programs)
        (self.layout.conf / "supervisord.conf").write_text(configuration, encoding="utf-8")

    def _start_parts(self, progress: Progress, parts: Sequence[Part]) -> None:
        started_at = time.monotonic()
        is_ready = {part.name: threading.Event() for part in parts}
        failed = threading.Event()
        context = self._context()

        def bring_up(part: Part) -> None:
            try:
                for dependency in part.depends_on:
                    # If the stack does not have the dependency, the part does not wait for it.
                    while dependency in is_ready and not is_ready[dependency].wait(POLL_S):
                        if failed.is_set():
                            return
                progress(part.name, "starting", time.monotonic() - started_at)
                part.prepare(context)
                self._supervisor.start(part.name)
                self._wait_part(part, part.ready_timeout_s, failed)
                part.provision(context)
            except BaseException:
                failed.set()
                raise
            self.ready_after_s[part.name] = time.monotonic() - started_at
            progress(part.name, "ready", self.ready_after_s[part.name])
            is_ready[part.name].set()

        with ThreadPoolExecutor(len(parts)) as pool:
            futures = [pool.submit(bring_up, part) for part in parts]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:
                failed.set()
                raise
            for future in done:
                future.result()

    def _stop_in_order(self) -> None:
        remaining = {part.name: part for part in self.parts}
        while remaining:
            needed = {name for part in remaining.values() for name in part.depends_on}
            wave = [part for part in remaining.values() if part.name not in needed]
            with ThreadPoolExecutor(len(wave)) as pool:
                list(pool.map(lambda part: self._supervisor.stop(part.name, wait=True), wave))
            for part in wave:
                del remaining[part.name]

    def _pid(self, name: str) -> int | None:
        try:
            pid = int(self.layout.pid_file(name).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
        return pid if psutil.pid_exists(pid) else None

    def _wait_part(self, part: Part, timeout_s: float, cancelled: threading.Event | None = None) -> None:
        def is_ready() -> bool:
            if cancelled is not None and cancelled.is_set():
                raise PartError(f"{part.title} may not be ready: the wait ended because another part failed")
            pid = self._pid(part.name)
            return pid is not None and part.ready(Probe(self.ports, pid))

        self._await(is_ready, timeout_s, f"{part.title} is not ready", part.name)

    def _await(self, condition: Callable[[], bool], timeout_s: float, complaint: str, log: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._lifeline is not None and not self._lifeline.running():
                raise PartError(f"{complaint}: supervisord has ended\n{self.logs('supervisord-start', 10)}")
            if time.monotonic() >= deadline:
                raise PartError(
                    f"{complaint} after {timeout_s:.0f} s; the end of {self.layout.log_file(log)}:\n"
                    f"{self.logs(log, LOG_TAIL_LINES)}"
                )
            time.sleep(POLL_S)


def statuses_as_json(statuses: Iterable[PartStatus]) -> str:
    """The statuses as one JSON array, for programs."""
    rows = [
        {"name": s.name, "state": s.state, "ready": s.ready, "pid": s.pid, "ports": dict(s.ports)} for s in statuses
    ]
    return json.dumps(rows, indent=1)


def follow(path: Path) -> Iterator[str]:
    """Lines as they are appended to a log, also after its rotation. Never ends."""
    while not path.exists():
        time.sleep(POLL_S)
    while True:
        with path.open(encoding="utf-8", errors="replace") as log:
            inode = os.fstat(log.fileno()).st_ino
            while True:
                line = log.readline()
                if line:
                    yield line
                elif path.exists() and path.stat().st_ino != inode:
                    break
                else:
                    time.sleep(POLL_S)
