"""The list of the parts of the local stack.

It says what each part is, and not how it is supervised. To add a part, add its ports to machine/ports.py, its check to
ready.py, and an entry here.
"""

import http.client
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from settings import Settings
from tools.balancer import Balancer, BalancerError, Door, Listed, Times, configuration
from tools.stack import files, flink, ready
from tools.stack.layout import Layout
from tools.stack.machine.certificate import CertificateError, ensure_certificate
from tools.stack.machine.haproxy import haproxy
from tools.stack.machine.java import growing_heap, jvm
from tools.stack.machine.local_http import open_local
from tools.stack.machine.ports import HOST
from tools.stack.machine.valkey import valkey_server

# The id that `kafka.tools.StorageTool format` writes into a data folder. Any UUID would do.
KAFKA_CLUSTER_ID = "dmlld19jb3VudHNfMDAwMQ"

BALANCER_CONNECTIONS_MAX = 2000
SEAWEEDFS_GO_MIB = 544
# The variables of the keys to the object store, of which none may be there without the other.
STORE_KEYS = ("VIEW_COUNTS_S3_ACCESS_KEY", "VIEW_COUNTS_S3_SECRET_KEY")

CASSANDRA_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)
CASSANDRA_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)


class PartError(RuntimeError):
    """A part could not be prepared or did not become ready. The message says which part, and why."""


@dataclass(frozen=True)
class Context:
    """What a part's command and preparation may use."""

    layout: Layout
    ports: Mapping[str, int]
    flink_settings: Mapping[str, str]
    environment: Mapping[str, str]
    # The names of the parts that this stack has.
    parts: tuple[str, ...] = ()

    @property
    def conf(self) -> Path:
        """The folder of this stack's configuration files."""
        return self.layout.conf


def _nothing(_context: Context) -> None:
    return


@dataclass(frozen=True)
class Part:
    """One process of the stack.

    `ports` are names of ports.DEFAULT_PORTS. `files` maps the name of a file in the stack's conf folder to the function
    that renders it. `prepare` runs before each start of the part. `provision` runs each time the stack has started the
    part and found it ready. `clean_up` runs after the stack has ended. All of them may run repeatedly.

    `secrets` are the variables that this part needs and no other may know.

    `memory_mib` is the budget of its memory, with all processes below it (tools.stack.memory).
    """

    name: str
    title: str
    command: Callable[[Context], list[str]]
    ports: tuple[str, ...]
    ready: ready.ReadyCheck
    memory_mib: int
    depends_on: tuple[str, ...] = ()
    files: Mapping[str, Callable[[Layout, Mapping[str, int]], str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    # The service of which it is a process. Its public port then comes first.
    service: str = ""
    # Variables that say on which of its ports it listens, where several parts run one program.
    port_variables: Mapping[str, str] = field(default_factory=dict)
    # `run` starts it after the first count, which is there sooner without it.
    comes_after_first_count: bool = False
    prepare: Callable[[Context], None] = _nothing
    provision: Callable[[Context], None] = _nothing
    clean_up: Callable[[Context], None] = _nothing
    # On two cores that were busy with other work, 90 s were not enough for Cassandra.
    ready_timeout_s: float = 240.0
    stop_grace_s: float = 15.0


def _class_path(folder: Path) -> str:
    return ":".join(sorted(str(jar) for jar in folder.glob("*.jar")))


def kafka_java(layout: Layout, heap_mib: int = 448) -> list[str]:
    """Return how each command of Kafka begins; its class and arguments follow."""
    return [
        *jvm(layout),
        *(*growing_heap(heap_mib), "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
        f"-Dlog4j2.configurationFile={layout.conf / 'kafka-log4j2.properties'}",
        *("-classpath", _class_path(layout.jars / "kafka")),
    ]


def _kafka_command(context: Context) -> list[str]:
    return [*kafka_java(context.layout), "kafka.Kafka", str(context.conf / "kafka.properties")]


def _prepare_kafka(context: Context) -> None:
    folder = context.layout.data / "kafka"
    if (folder / "meta.properties").exists():
        return
    # An interrupted format may have left files, and the tool refuses a folder that is not empty.
    shutil.rmtree(folder, ignore_errors=True)
    java, *options = kafka_java(context.layout)
    properties = str(context.conf / "kafka.properties")
    format_ = ("kafka.tools.StorageTool", "format", "--cluster-id", KAFKA_CLUSTER_ID, "--config", properties)
    command = [java, "-XX:TieredStopAtLevel=1", *options, *format_]
    _run(context, command, f"kafka: its data folder {folder} could not be formatted")


def _run(context: Context, command: list[str], failure: str) -> None:
    """Run a command to its end. Raises PartError with `failure` and what was printed."""
    finished = subprocess.run(
        command,
        env=dict(context.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise PartError(f"{failure}:\n{finished.stdout}")


def _cassandra_command(context: Context) -> list[str]:
    jars = context.layout.jars / "cassandra"
    data = context.layout.data / "cassandra"
    return [
        *jvm(context.layout),
        *(*growing_heap(832), "-Xss512k", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=200"),
        f"-javaagent:{next(jars.glob('jamm-*.jar'))}",
        f"-Dcassandra.config={(context.conf / 'cassandra.yaml').as_uri()}",
        f"-Dlogback.configurationFile={context.conf / 'cassandra-logback.xml'}",
        f"-Dcassandra.storagedir={data}",
        f"-Dcassandra.jmx.local.port={context.ports['cassandra_jmx']}",
        # A single node need not wait for gossip or for the ring.
        "-Dcassandra.ring_delay_ms=0",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.join_ring=true",
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Djdk.attach.allowAttachSelf=true",
        *(argument for name in CASSANDRA_EXPORTS for argument in ("--add-exports", f"{name}=ALL-UNNAMED")),
        *(argument for name in CASSANDRA_OPENS for argument in ("--add-opens", f"{name}=ALL-UNNAMED")),
        *("-classpath", _class_path(jars)),
        "org.apache.cassandra.service.CassandraDaemon",
    ]


def _seaweedfs_command(context: Context) -> list[str]:
    ports, layout = context.ports, context.layout
    return [
        str(Path(sys.executable).with_name("weed")),
        # Logs go only to standard error, without log files.
        "-logtostderr=true",
        "server",
        f"-dir={layout.data / 'seaweedfs'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-s3",
        f"-s3.config={context.conf / 's3-identities.json'}",
        # The file of identities is enough. The IAM service would only log that it has no key.
        "-s3.iam=false",
        f"-s3.port={ports['s3']}",
        f"-s3.port.grpc={ports['s3_grpc']}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={layout.socket('s3')}",
        f"-master.port={ports['seaweed_master']}",
        f"-master.port.grpc={ports['seaweed_master_grpc']}",
        # SeaweedFS sends telemetry by default.
        "-master.telemetry=false",
        # With files of 64 MiB, the space of deleted checkpoints is freed early and in small pieces.
        "-master.volumeSizeLimitMB=64",
        # A single master would wait for an election for 10 s by default.
        "-master.electionTimeout=500ms",
        f"-volume.port={ports['seaweed_volume']}",
        f"-volume.port.grpc={ports['seaweed_volume_grpc']}",
        # 0 means as many volumes as the disk has room for.
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.port={ports['seaweed_filer']}",
        f"-filer.port.grpc={ports['seaweed_filer_grpc']}",
        f"-filer.localSocket={layout.socket('filer')}",
    ]


def _prepare_seaweedfs(context: Context) -> None:
    (context.layout.data / "seaweedfs").mkdir(parents=True, exist_ok=True)


def _clean_up_seaweedfs(context: Context) -> None:
    """Remove the sockets that SeaweedFS leaves in /tmp. That path is fixed in its code."""
    for port in PARTS_BY_NAME["seaweedfs"].ports:
        for socket in Path("/tmp").glob(f"seaweedfs-*-{context.ports[port]}.sock"):  # noqa: S108
            socket.unlink(missing_ok=True)


def _provision_seaweedfs(context: Context) -> None:
    """Make the bucket, which is a folder below /buckets in SeaweedFS, and remove the rule of older versions."""
    url = f"http://{HOST}:{context.ports['seaweed_filer']}/buckets/{files.S3_BUCKET}/"
    try:
        with open_local(urllib.request.Request(url, method="POST"), timeout_s=10):
            pass
    except urllib.error.HTTPError as error:
        if error.code != http.client.CONFLICT:
            raise PartError(f"seaweedfs: the bucket {files.S3_BUCKET} could not be made: {error}") from error
    _provision("lifecycle")(context)


def _flink_process(process: str) -> Callable[[Context], list[str]]:
    def command(context: Context) -> list[str]:
        port = context.ports.get(f"{process}_metrics")
        # Both processes read one configuration, so with a range of ports there each would get a random one.
        own = {} if port is None else {"metrics.reporter.prom.port": str(port)}
        if process == "taskmanager" and flink.has_spaces(context.layout.tmp):
            # Flink's script splits the path of a Python worker's start log at spaces. The working folder is the stack's
            # home, so this relative path has none.
            own["io.tmp.dirs"] = f"./{context.layout.tmp.name}"
        return flink.jvm_command(context.layout, context.flink_settings, process, own)

    return command


def _jobmanager_command(context: Context) -> list[str]:
    # The JobManager does not start while there is the result of a refused restore.
    completing = [str(context.layout.python), "-m", "tools.job_results"]
    return [*completing, *_flink_process("jobmanager")(context)]


def _prepare_taskmanager(context: Context) -> None:
    # A killed process leaves working copies of RocksDB. They are not needed, since the checkpoints have the state.
    shutil.rmtree(context.layout.tmp / "rocksdb", ignore_errors=True)


def _provision_cassandra(context: Context) -> None:
    """Make the tables, and the register of history if the stack has an object store."""
    _provision("tables", *(["register"] if "seaweedfs" in context.parts else []))(context)


def _provision(*what: str) -> Callable[[Context], None]:
    def provision(context: Context) -> None:
        command = [str(context.layout.python), "-m", "tools.stack.provision", *what]
        _run(context, command, f"the {' and the '.join(what)} could not be made")

    return provision


def _service(module: str) -> Callable[[Context], list[str]]:
    return lambda context: [str(context.layout.python), "-m", module]


def _process(name: str, title: str, number: int, *, memory_mib: int, depends_on: str) -> Part:
    """One of the processes of a service. The first has the name of the service."""
    own = name if number == 1 else f"{name}_{number}"
    public, private = f"{name}_{number}", f"{own}_private"
    return Part(
        name=own,
        title=title,
        command=_service(f"services.{name}"),
        ports=(public, private),
        ready=ready.http_ok(public, "/readyz"),
        memory_mib=memory_mib,
        # Query reads history, and ingest stores overflow.
        secrets=STORE_KEYS,
        depends_on=(depends_on,),
        service=name,
        port_variables={
            f"VIEW_COUNTS_{name.upper()}_PORT": public,
            f"VIEW_COUNTS_{name.upper()}_PRIVATE_PORT": private,
        },
        comes_after_first_count=number > 1,
    )


def processes_of(service: str, parts: Iterable[str]) -> list[Part]:
    """Those of these parts that are processes of a service."""
    return [PARTS_BY_NAME[name] for name in parts if PARTS_BY_NAME[name].service == service]


def _balancer_command(context: Context) -> list[str]:
    # With a master, so that a signal reloads its configuration. It stays in the foreground.
    return [str(haproxy()), "-W", "-f", str(context.conf / "haproxy.cfg")]


def _door(service: str, context: Context) -> Door:
    # A stack that has no such process has a door that leads nowhere.
    processes = processes_of(service, context.parts) or processes_of(service, [service])
    return Door(
        f"{HOST}:{context.ports[service]}",
        f"{HOST}:{context.ports[f'{service}_tls']}",
        Listed([f"{HOST}:{context.ports[part.ports[0]]}" for part in processes]),
    )


def _prepare_balancer(context: Context) -> None:
    """Write its configuration for the processes that this stack has, and make a certificate if there is none."""
    both = context.layout.certificate
    try:
        ensure_certificate(both)
        made = Balancer(
            _door("ingest", context),
            _door("query", context),
            private=f"{HOST}:{context.ports['balancer_private']}",
            socket=context.layout.socket("haproxy"),
            certificate=both,
            # In open access, ingest refuses what comes from elsewhere by what it says of its client.
            keeps_forwarded=True,
            threads=1,
            connections_max=BALANCER_CONNECTIONS_MAX,
            balancers=1,
            about="Made by the local stack at each start.",
        )
        text = configuration(made, Times.of(Settings()))
    except (BalancerError, CertificateError) as error:
        raise PartError(f"haproxy: {error}") from error
    (context.conf / "haproxy.cfg").write_text(text, encoding="utf-8")


PARTS: tuple[Part, ...] = (
    Part(
        name="zookeeper",
        title="ZooKeeper",
        command=_flink_process("zookeeper"),
        ports=("zookeeper",),
        ready=ready.zookeeper,
        memory_mib=224,
    ),
    Part(
        name="kafka",
        title="Kafka",
        command=_kafka_command,
        ports=("kafka", "kafka_controller"),
        ready=ready.kafka,
        memory_mib=704,
        files={
            "kafka.properties": files.kafka_server_properties,
            "kafka-log4j2.properties": lambda layout, _ports: files.kafka_log4j2(layout),
        },
        prepare=_prepare_kafka,
        provision=_provision("topics"),
    ),
    Part(
        name="cassandra",
        title="Cassandra",
        command=_cassandra_command,
        ports=("cassandra", "cassandra_storage", "cassandra_jmx"),
        ready=ready.cassandra,
        memory_mib=1600,
        files={
            "cassandra.yaml": files.cassandra_yaml,
            "cassandra-logback.xml": lambda layout, _ports: files.cassandra_logback(layout),
        },
        provision=_provision_cassandra,
        stop_grace_s=30.0,
    ),
    Part(
        name="seaweedfs",
        title="SeaweedFS (S3)",
        command=_seaweedfs_command,
        ports=(
            *("s3", "s3_grpc", "seaweed_master", "seaweed_master_grpc"),
            *("seaweed_volume", "seaweed_volume_grpc", "seaweed_filer", "seaweed_filer_grpc"),
        ),
        ready=ready.seaweedfs,
        memory_mib=672,
        files={"s3-identities.json": lambda layout, _ports: files.seaweedfs_identities(layout)},
        # Go collects more often from there on. The budget leaves room for what it cannot collect.
        environment={"GOMEMLIMIT": f"{SEAWEEDFS_GO_MIB}MiB"},
        prepare=_prepare_seaweedfs,
        provision=_provision_seaweedfs,
        clean_up=_clean_up_seaweedfs,
        # SeaweedFS would wait 15 s for its own streams to end. Acknowledged data are written, and its start copes with
        # a kill -9 anyway.
        stop_grace_s=2.0,
    ),
    Part(
        name="redis",
        title="Redis (Valkey)",
        command=lambda context: [str(valkey_server()), str(context.conf / "redis.conf")],
        ports=("redis",),
        ready=ready.redis,
        memory_mib=96,
        files={"redis.conf": files.redis_conf},
        # It keeps nothing, so it has nothing to finish.
        stop_grace_s=2.0,
    ),
    Part(
        name="jobmanager",
        title="Flink JobManager",
        command=_jobmanager_command,
        ports=("flink", "flink_rpc", "flink_blob", "jobmanager_metrics"),
        ready=ready.jobmanager,
        memory_mib=1036,
        depends_on=("zookeeper", "seaweedfs"),
    ),
    Part(
        name="taskmanager",
        title="Flink TaskManager",
        command=_flink_process("taskmanager"),
        ports=("taskmanager_metrics",),
        ready=ready.taskmanager,
        # With three Python workers of 480 MiB: two of the count job, and one of a batch job.
        memory_mib=3840,
        # The TaskManager finds the JobManager through ZooKeeper, so it need not wait for it.
        depends_on=("zookeeper", "seaweedfs"),
        # Its Python workers read the archive and history.
        secrets=STORE_KEYS,
        prepare=_prepare_taskmanager,
    ),
    _process("ingest", "Ingest service", 1, memory_mib=320, depends_on="kafka"),
    _process("query", "Query service", 1, memory_mib=240, depends_on="cassandra"),
    _process("ingest", "Ingest service, second process", 2, memory_mib=320, depends_on="kafka"),
    _process("query", "Query service, second process", 2, memory_mib=240, depends_on="cassandra"),
    Part(
        name="haproxy",
        title="HAProxy (load balancer)",
        command=_balancer_command,
        ports=("ingest", "ingest_tls", "query", "query_tls", "balancer_private"),
        ready=ready.http_ok("balancer_private", "/healthz"),
        memory_mib=64,
        # It takes a process that is not there for one that has failed, and gives it little for some seconds.
        depends_on=("ingest", "query"),
        prepare=_prepare_balancer,
        stop_grace_s=2.0,
    ),
    Part(
        name="drain",
        title="Drainer of overflow",
        command=_service("services.drain"),
        ports=("drain_private",),
        secrets=STORE_KEYS,
        ready=ready.http_ok("drain_private", "/metrics"),
        # While there is nothing to drain, it is a third of that.
        memory_mib=256,
        depends_on=("kafka", "cassandra", "seaweedfs"),
        # Until it is there, what ingest has stored waits.
        comes_after_first_count=True,
    ),
)

PARTS_BY_NAME: Mapping[str, Part] = {part.name: part for part in PARTS}
