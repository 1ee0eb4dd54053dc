"""The local stack on real parts: each killed with -9 comes back with what it had acknowledged.

Uses the stack's own interface and command line; what a part keeps is asked through that part's own client.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cassandra.cluster import Cluster
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from redis import Redis

from tests.support.jobs import await_no_job
from tests.support.metrics import samples
from tests.support.waiting import eventually
from tools.stack import FlinkCommandError, Stack, flink
from tools.stack.files import REDIS_MIB
from tools.stack.layout import HOME_VARIABLE, repository
from tools.stack.machine.local_http import open_local
from tools.stack.machine.ports import HOST, environment_variable, free_ports
from tools.stack.memory import pss_mib
from tools.stack.parts import PARTS_BY_NAME

INFRASTRUCTURE = ("zookeeper", "kafka", "cassandra", "seaweedfs", "redis", "jobmanager", "taskmanager")
GONE_S = 5.0
BACK_S = 60.0


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Stack:
    """The shared stack without jobs of others."""
    await_no_job(shared_stack)
    return shared_stack


@pytest.fixture(scope="module")
def job(stack: Stack) -> str:
    job_id = stack.flink_run(["-py", str(Path(__file__).with_name("endless_job.py"))])
    wait_progress(stack, job_id)
    return job_id


def wait_progress(stack: Stack, job_id: str) -> None:
    """Wait until all tasks of the job run, and it has completed a checkpoint after this call."""

    def completed() -> int:
        answer = stack.flink_rest(f"/jobs/{job_id}/checkpoints") or {}
        latest = answer.get("latest", {}).get("completed") or {"id": 0}
        return int(latest["id"])

    def running() -> bool:
        answer = stack.flink_rest(f"/jobs/{job_id}") or {"vertices": [{"status": "UNKNOWN"}]}
        return all(vertex["status"] == "RUNNING" for vertex in answer["vertices"])

    assert eventually(running, BACK_S), stack.flink_rest(f"/jobs/{job_id}/exceptions")
    before = completed()
    assert eventually(lambda: completed() > before and running(), BACK_S)


def test_every_part_is_ready_and_says_where(stack: Stack) -> None:
    statuses = [status for status in stack.status() if status.name in INFRASTRUCTURE]
    assert [status.name for status in statuses] == list(INFRASTRUCTURE)
    for status in statuses:
        assert status.ready
        assert status.state == "RUNNING"
        assert status.pid is not None
        assert psutil.pid_exists(status.pid)
    pids = [status.pid for status in statuses]
    assert len(set(pids)) == len(pids)


def test_parts_that_hold_to_a_bound_are_within_their_budget(stack: Stack) -> None:
    for name in ("zookeeper", "kafka", "cassandra", "redis"):
        assert 0 < pss_mib(stack.pid(name)) < PARTS_BY_NAME[name].memory_mib, name


def test_what_listens_beyond_this_machine_is_what_the_docs_say(stack: Stack, job: str) -> None:
    """Flink's figures, and the TaskManager's channels to its Python workers, which its own process opens."""
    assert job
    beyond: dict[str, set[int]] = {}
    for status in stack.status():
        if status.pid is None:
            continue
        part = psutil.Process(status.pid)
        for process in (part, *part.children(recursive=True)):
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN and one.laddr.ip not in {HOST, "::1", f"::ffff:{HOST}"}:
                    beyond.setdefault(status.name, set()).add(one.laddr.port)
    ports = stack.ports
    assert beyond.keys() == {"jobmanager", "taskmanager"}
    assert beyond["jobmanager"] == {ports["jobmanager_metrics"]}
    channels = beyond["taskmanager"] - {ports["taskmanager_metrics"]}
    assert ports["taskmanager_metrics"] in beyond["taskmanager"]
    assert channels, "remove them from docs/secured-parts.md and the network policy"
    assert not channels & set(ports.values())


def figures(stack: Stack, part: str) -> dict[str, list[float]]:
    """Values by name, of all labels; none while the part is away."""
    found: dict[str, list[float]] = {}
    for sample in samples(stack, part):
        found.setdefault(sample.name, []).append(sample.value)
    return found


def test_flink_gives_its_figures_and_the_jobs_to_prometheus(stack: Stack, job: str) -> None:
    """The job's above all: whoever wants to know what a trial did asks here."""
    ports = {status.name: status.ports for status in stack.status()}
    for part in ("jobmanager", "taskmanager"):
        assert stack.endpoints[f"{part}_metrics"].endswith(f":{ports[part][f'{part}_metrics']}")

    def of_cluster() -> bool:
        return figures(stack, "jobmanager").get("flink_jobmanager_numRegisteredTaskManagers") == [1.0]

    def of_job() -> list[float]:
        return figures(stack, "taskmanager").get("flink_taskmanager_job_task_operator_numRecordsOut", [])

    assert eventually(of_cluster, BACK_S)
    assert eventually(lambda: sum(of_job()) > 0, BACK_S)
    assert len(figures(stack, "taskmanager")["flink_taskmanager_Status_JVM_CPU_Load"]) == 1


def test_zookeeper_comes_back(stack: Stack) -> None:
    killed = stack.kill("zookeeper")
    stack.wait_ready("zookeeper", timeout_s=BACK_S)
    assert stack.pid("zookeeper") != killed


def test_kafka_comes_back_with_what_it_acknowledged(stack: Stack) -> None:
    servers: dict[str, str | int | float | bool] = {"bootstrap.servers": stack.endpoints["kafka"]}
    topic = f"stack-{uuid.uuid4().hex}"
    config = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient(servers)
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(20)
    acknowledged: list[int] = []
    producer = Producer({**servers, "acks": "all", "enable.idempotence": True})
    for number in range(1_000):
        producer.produce(
            topic,
            str(number).encode(),
            on_delivery=lambda error, message: acknowledged.append(int(message.value() or b"")) if not error else None,
        )
    producer.flush(30)
    assert len(acknowledged) == 1_000

    killed = stack.kill("kafka")
    stack.wait_ready("kafka", timeout_s=BACK_S)
    assert stack.pid("kafka") != killed

    consumer = Consumer({**servers, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = [int(message.value() or b"") for message in consumer.consume(1_000, timeout=30) if not message.error()]
    consumer.close()
    assert found == list(range(1_000))


def test_redis_comes_back_and_keeps_nothing(stack: Stack) -> None:
    with Redis(HOST, stack.ports["redis"]) as client:
        client.set("stack", 1)
        assert client.config_get("maxmemory*") == {
            "maxmemory": str(REDIS_MIB << 20),
            "maxmemory-policy": "allkeys-lru",
            "maxmemory-samples": "5",
            "maxmemory-clients": "0",
            "maxmemory-eviction-tenacity": "10",
        }
    killed = stack.kill("redis")
    stack.wait_ready("redis", timeout_s=BACK_S)
    assert stack.pid("redis") != killed
    with Redis(HOST, stack.ports["redis"]) as client:
        assert client.get("stack") is None
    # Nor has it written anything: no snapshot and no log of writes.
    assert not [*stack.layout.home.rglob("*.rdb"), *stack.layout.home.rglob("*.aof")]


def test_cassandra_comes_back_with_what_it_acknowledged(stack: Stack) -> None:
    keyspace = f"stack_{uuid.uuid4().hex}"

    def connect() -> Cluster:
        return Cluster([HOST], port=stack.ports["cassandra"], protocol_version=5)

    with connect() as cluster:
        session = cluster.connect()
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication}")
        session.execute(f"CREATE TABLE {keyspace}.numbers (number int PRIMARY KEY)")
        insert = session.prepare(f"INSERT INTO {keyspace}.numbers (number) VALUES (?)")
        for number in range(500):
            session.execute(insert, (number,))
        # Straight after the last acknowledgement: a log synced once in a while would lose rows here.
        killed = stack.kill("cassandra")
    stack.wait_ready("cassandra", timeout_s=BACK_S)
    assert stack.pid("cassandra") != killed
    with connect() as cluster:
        rows = cluster.connect().execute(f"SELECT number FROM {keyspace}.numbers")
        assert sorted(row.number for row in rows) == list(range(500))


def test_seaweedfs_comes_back_with_what_it_acknowledged(stack: Stack) -> None:
    folder = f"http://{HOST}:{stack.ports['seaweed_filer']}/buckets/view-counts/stack-{uuid.uuid4().hex}"
    objects = {f"{folder}/{number}": os.urandom(200_000) for number in range(20)}
    for url, body in objects.items():
        with open_local(urllib.request.Request(url, data=body, method="PUT"), timeout_s=10):
            pass
    killed = stack.kill("seaweedfs")
    stack.wait_ready("seaweedfs", timeout_s=BACK_S)
    assert stack.pid("seaweedfs") != killed
    for url, body in objects.items():
        with open_local(url, timeout_s=10) as answer:
            assert answer.read() == body


def test_a_killed_taskmanager_takes_its_python_workers_along_and_the_job_goes_on(stack: Stack, job: str) -> None:
    workers = stack.python_workers()
    assert workers
    stack.kill("taskmanager")
    assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in workers), GONE_S)
    stack.wait_ready("taskmanager", timeout_s=BACK_S)
    wait_progress(stack, job)
    assert not set(workers) & set(stack.python_workers())
    assert "flink_taskmanager_Status_JVM_CPU_Load" in figures(stack, "taskmanager")


def test_a_killed_python_worker_is_replaced(stack: Stack, job: str) -> None:
    killed = stack.kill_python_worker()
    assert eventually(lambda: not psutil.pid_exists(killed), GONE_S)
    assert eventually(lambda: bool(stack.python_workers()), BACK_S)
    wait_progress(stack, job)


def test_a_killed_jobmanager_comes_back_with_its_job(stack: Stack, job: str) -> None:
    stack.kill("jobmanager")
    stack.wait_ready("jobmanager", "taskmanager", timeout_s=BACK_S)
    assert eventually(lambda: stack.jobs().get(job) == "RUNNING", BACK_S)
    restored = (stack.flink_rest(f"/jobs/{job}/checkpoints") or {})["latest"]["restored"]
    assert restored is not None
    assert figures(stack, "jobmanager")["flink_jobmanager_numRegisteredTaskManagers"] == [1.0]
    wait_progress(stack, job)


def job_results(stack: Stack) -> list[str]:
    """What Flink keeps of ended jobs that it has not cleaned up."""
    folder = f"http://{HOST}:{stack.ports['seaweed_filer']}/buckets/view-counts/ha/job-result-store/view-counts/"
    request = urllib.request.Request(folder, headers={"Accept": "application/json"})
    try:
        with open_local(request, timeout_s=10) as answer:
            entries = json.load(answer)["Entries"] or []
    except urllib.error.HTTPError as error:
        if error.code != http.client.NOT_FOUND:
            raise
        return []  # No job has ended so far.
    return [entry["FullPath"] for entry in entries if entry["FullPath"].endswith("_DIRTY.json")]


def test_a_refused_restore_does_not_keep_a_killed_jobmanager_from_coming_back(
    stack: Stack, job: str, tmp_path: Path
) -> None:
    """Flink keeps a result of a job that failed before it ran, with which no JobManager would start."""
    before = job_results(stack)
    savepoint = stack.flink_savepoint(job)
    other = tmp_path / "other_job.py"
    text = Path(__file__).with_name("endless_job.py").read_text(encoding="utf-8")
    other.write_text(text.replace(".print()", '.uid("renamed").print()'), encoding="utf-8")
    with pytest.raises(FlinkCommandError, match="Cannot map checkpoint/savepoint state for operator"):
        stack.flink_run(["-s", savepoint, "-py", str(other)])
    assert len(job_results(stack)) == len(before) + 1
    assert stack.jobs()[job] == "RUNNING"

    stack.kill("jobmanager")
    stack.wait_ready("jobmanager", "taskmanager", timeout_s=BACK_S)
    assert eventually(lambda: stack.jobs().get(job) == "RUNNING", BACK_S)
    wait_progress(stack, job)
    assert job_results(stack) == []


def test_a_part_can_be_away_for_a_while(stack: Stack, job: str) -> None:
    stack.stop_part("seaweedfs")
    away = {status.name: status for status in stack.status()}["seaweedfs"]
    assert (away.state, away.pid, away.ready) == ("STOPPED", None, False)
    time.sleep(3)
    stack.start_part("seaweedfs")
    wait_progress(stack, job)


def test_a_savepoint_can_be_taken_and_started_from(stack: Stack, job: str) -> None:
    """Last of those that use the job: it ends it. Started as on a cluster, with PyFlink's jar: docs/decisions/0029."""
    path = stack.flink_stop(job)
    assert path.startswith("s3://view-counts/savepoints/")
    job_file = str(Path(__file__).with_name("endless_job.py"))
    script = [str(stack.layout.flink_home / "bin" / "flink"), "run", "-d", "-s", path, "-py", job_file]
    again = flink.job_id(subprocess.check_output(script, env=stack.process_environment(), text=True))
    wait_progress(stack, again)
    stack.flink("cancel", again)
    assert eventually(lambda: stack.jobs()[again] == "CANCELED", BACK_S)


# --- the command line, with parts that start fast


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator["CommandLine"]:
    line = CommandLine(tmp_path / "home")
    yield line
    line.end()


class CommandLine:
    """`python -m tools.cli` on a home and ports of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ports = {environment_variable(name): str(port) for name, port in free_ports().items()}
        self.environment = {**os.environ, **ports, HOME_VARIABLE: str(home), "TERM": "dumb"}
        self.before: list[str] = []
        self.up_process: subprocess.Popen[str] | None = None

    def begin(self, *parts: str) -> None:
        """Start, without waiting."""
        options = [argument for part in parts for argument in ("--part", part)]
        self.up_process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "tools.cli", "up", *options],
            cwd=repository(),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Of a terminal, even where these tests run under nohup themselves.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - before any thread
        )

    def up(self, *parts: str) -> set[int]:
        """Start, and wait until all is ready; the process ids of everything started."""
        self.begin(*parts)
        assert self.up_process is not None
        assert eventually(lambda: self("status").returncode == 0, BACK_S), self.home
        processes = psutil.Process(self.up_process.pid)
        # supervisord and the parts, and a wrapper around each of them; what provisions a part ends soon.
        assert eventually(lambda: len(processes.children(recursive=True)) == 2 * (1 + len(parts)), BACK_S)
        return {process.pid for process in processes.children(recursive=True)}

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tools.cli", *arguments],
            cwd=repository(),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def end(self) -> None:
        if self.up_process is not None:
            self.up_process.kill()
            self.up_process.communicate()


def all_gone(pids: set[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("victim", ["tools.cli", "subreaper.py", "supervisord"])
def test_nothing_is_left_after_a_kill_of_what_holds_the_parts(command_line: CommandLine, victim: str) -> None:
    started = command_line.up("zookeeper")
    assert command_line.up_process is not None
    cli = psutil.Process(command_line.up_process.pid)
    # From the top: the command line, a wrapper around supervisord, supervisord.
    wrapper = cli.children()[0]
    holders = {"tools.cli": cli, "subreaper.py": wrapper, "supervisord": wrapper.children()[0]}
    assert any(victim in argument for argument in holders[victim].cmdline())
    holders[victim].kill()
    command_line.up_process.wait(30)
    assert eventually(lambda: all_gone(started), GONE_S)
    finished = command_line("status")
    assert (finished.returncode, finished.stderr) == (1, "the stack is not running\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_ctrl_c_and_the_data_stays(command_line: CommandLine, number: int) -> None:
    started = command_line.up("zookeeper")
    assert command_line.up_process is not None
    command_line.up_process.send_signal(number)
    assert "stopped; the data stays in" in command_line.up_process.communicate(timeout=30)[0]
    assert command_line.up_process.returncode == 0
    assert all_gone(started)
    assert (command_line.home / "data" / "zookeeper").is_dir()
    assert command_line("clean-data").returncode == 0
    assert not command_line.home.exists()


def test_ctrl_c_while_starting_leaves_nothing(command_line: CommandLine) -> None:
    command_line.begin("zookeeper", "seaweedfs")
    assert command_line.up_process is not None
    cli = psutil.Process(command_line.up_process.pid)
    assert eventually(lambda: len(cli.children(recursive=True)) > 2, BACK_S)
    started = {process.pid for process in cli.children(recursive=True)}
    command_line.up_process.send_signal(signal.SIGINT)
    printed = command_line.up_process.communicate(timeout=30)[0]
    assert "stopped; the data stays in" in printed
    assert "Traceback" not in printed
    assert command_line.up_process.returncode == 0
    assert all_gone(started)


def test_another_terminal_sees_and_steers_the_stack(command_line: CommandLine) -> None:
    started = command_line.up("zookeeper", "seaweedfs")
    statuses = {status["name"]: status for status in json.loads(command_line("status", "--json").stdout)}
    assert set(statuses) == {"zookeeper", "seaweedfs"}
    zookeeper = statuses["zookeeper"]
    assert zookeeper["ready"]
    assert zookeeper["pid"] in started
    variable = environment_variable("zookeeper")
    assert zookeeper["ports"] == {"zookeeper": int(command_line.environment[variable])}

    # What it had goes on: an object put before is there after kill, restart and a second `up`.
    url = f"http://{HOST}:{statuses['seaweedfs']['ports']['seaweed_filer']}/buckets/view-counts/kept"
    with open_local(urllib.request.Request(url, data=b"kept", method="PUT"), timeout_s=10):
        pass
    assert command_line("kill", "zookeeper").stdout == f"{zookeeper['pid']}\n"
    assert eventually(lambda: command_line("status").returncode == 0, BACK_S)
    assert command_line("restart", "seaweedfs").returncode == 0
    assert "starting" in command_line("logs", "zookeeper", "-n", "500").stdout.lower()

    second = command_line("up")
    assert second.returncode == 1
    assert second.stderr.endswith("already: `vc down` stops it\n")
    # Neither is the first one harmed by the second.
    assert command_line("status").returncode == 0
    refused = command_line("clean-data")
    assert (refused.returncode, refused.stderr.startswith("the stack runs")) == (1, True)

    assert command_line("down").returncode == 0
    assert eventually(lambda: all_gone(started), GONE_S)
    command_line.end()
    command_line.up("zookeeper", "seaweedfs")
    with open_local(url, timeout_s=10) as answer:
        assert answer.read() == b"kept"


def test_a_disk_that_fills_up_ends_it_in_good_order_with_the_reason_last(command_line: CommandLine) -> None:
    # As if it had been filled since: more than any disk has is wanted now.
    command_line.environment |= {"VIEW_COUNTS_STACK_DISK_STOP_MIB": str(2**40), "VIEW_COUNTS_STACK_DISK_START_MIB": "0"}
    command_line.begin("zookeeper")
    assert command_line.up_process is not None
    printed = command_line.up_process.communicate(timeout=BACK_S)[0]
    assert command_line.up_process.returncode == 1
    assert "ZooKeeper is ready" in printed
    assert "of disk are free at" in printed.splitlines()[-1]
    assert "VIEW_COUNTS_STACK_DISK_STOP_MIB" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert command_line("status").stderr == "the stack is not running\n"


def test_it_starts_behind_a_proxy_and_outlives_its_terminal_under_nohup(command_line: CommandLine) -> None:
    command_line.before = ["nohup"]
    command_line.environment |= {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
    command_line.up("seaweedfs")
    assert command_line.up_process is not None
    status = Path(f"/proc/{command_line.up_process.pid}/status").read_text(encoding="ascii")
    (ignored,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert ignored & 1 << signal.SIGHUP - 1


def test_a_busy_port_is_one_line_before_anything_starts(command_line: CommandLine) -> None:
    variable = environment_variable("zookeeper")
    with socket.socket() as busy:
        busy.bind((HOST, int(command_line.environment[variable])))
        busy.listen()
        finished = command_line("up", "--part", "zookeeper")
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert variable in line
    assert not (command_line.home / "conf").exists()
