"""Flink for the local stack: its folders and settings, the JVM commands, and the `flink` command line.

It uses the pip package unchanged, by way of FLINK_*_DIR. It must not know the supervisor or any job of the product.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.stack import files
from tools.stack.layout import Layout, repository
from tools.stack.machine.environment import inherited
from tools.stack.machine.java import java, jvm
from tools.stack.machine.ports import HOST

RESULT_PREFIX = "BASH_JAVA_UTILS_EXEC_RESULT:"
JOB_ID = re.compile(r"JobID ([0-9a-f]{32})")
SAVEPOINT_PATH = re.compile(r"Savepoint completed\. Path: (\S+)")
# The settings from which the memory of a JVM process is computed. If others change, the cached result is still used.
MEMORY_KEYS = (
    "jobmanager.memory.",
    "taskmanager.memory.",
    "taskmanager.numberOfTaskSlots",
    "taskmanager.cpu.",
)
ZOOKEEPER_HEAP_MIB = 128
# What the budgets of the local stack leave to the two processes (tools/stack/parts.py); other machines have what
# config.yaml says. The heaps are 384 and 688 MiB. See docs/operations.md, memory of the local stack.
JOBMANAGER_MIB = 960
TASKMANAGER_MIB = 2400
LOCAL_MEMORY: Mapping[str, str] = {
    "jobmanager.memory.process.size": f"{JOBMANAGER_MIB}m",
    # Else only its heap is bounded, and not what is outside of it.
    "jobmanager.memory.enable-jvm-direct-memory-limit": "true",
    "taskmanager.memory.process.size": f"{TASKMANAGER_MIB}m",
    # The demo's load and a backlog of it need no more of what is on its way to the Python workers.
    "taskmanager.memory.task.off-heap.size": "448m",
    "taskmanager.memory.managed.size": "512m",
    # Flink begins with a whole heap, which is then used whole, however little of it is alive. These grow.
    "env.java.opts.jobmanager": "-Xms128m",
    "env.java.opts.taskmanager": "-Xms192m",
}
# A client runs for seconds, and the quick compiler saves it one second.
CLIENT_JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx192m")
# The plugins of the package that are used here.
PACKAGE_PLUGINS = ("metrics-prometheus",)


class FlinkCommandError(RuntimeError):
    """A `flink` command failed. The message ends with what it printed."""


@functools.cache
def template() -> Mapping[str, str]:
    """The settings in flink-conf/config.yaml, as text by key."""
    return _read_settings(repository() / "flink-conf" / "config.yaml")


def _read_settings(path: Path) -> dict[str, str]:
    """Read a file with one `key: value` in each line."""
    settings: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        key, colon, value = line.partition(": ")
        if not colon or key != key.strip():
            raise ValueError(f"{path}:{number}: {line!r} is not a flat `key: value` line")
        settings[key] = value.strip()
    return settings


def settings(layout: Layout, ports: Mapping[str, int], overrides: Mapping[str, str]) -> dict[str, str]:
    """The template with this stack's addresses, ports and paths. `overrides` replace both."""
    return {
        **template(),
        "jobmanager.bind-host": HOST,
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": str(ports["flink_rpc"]),
        "high-availability.jobmanager.port": str(ports["flink_rpc"]),
        "blob.server.port": str(ports["flink_blob"]),
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": str(ports["flink"]),
        "taskmanager.bind-host": HOST,
        "taskmanager.host": HOST,
        # The name stays the same after a restart. So the new registration replaces the old one at once, and does not
        # wait for the heartbeat timeout.
        "taskmanager.resource-id": "taskmanager-1",
        "high-availability.zookeeper.quorum": f"{HOST}:{ports['zookeeper']}",
        "s3.access-key": files.S3_ACCESS_KEY,
        "s3.secret-key": files.S3_SECRET_KEY,
        "s3.endpoint": f"http://{HOST}:{ports['s3']}",
        "io.tmp.dirs": str(layout.tmp),
        # Local copies of RocksDB are needed only while the process lives. They go with the scratch folder.
        "state.backend.rocksdb.localdir": str(layout.tmp / "rocksdb"),
        "web.log.path": str(layout.log_file("jobmanager")),
        "taskmanager.log.path": str(layout.log_file("taskmanager")),
        # Flink's script splits the path at spaces. If it has any, only the name is given, which is the first on PATH.
        "python.executable": plain_python(layout),
        "python.client.executable": str(layout.python),
        **overrides,
    }


def plain_python(layout: Layout) -> str:
    """The interpreter of the Python workers, as one word without spaces."""
    return layout.python.name if has_spaces(layout.python) else str(layout.python)


def has_spaces(path: Path) -> bool:
    """Whether a path has spaces, at which the script that starts Flink's Python workers would split it."""
    return re.search(r"\s", str(path)) is not None


def write_configuration(layout: Layout, values: Mapping[str, str], ports: Mapping[str, int]) -> None:
    """Write the files of FLINK_CONF_DIR, and make the links of FLINK_LIB_DIR and FLINK_PLUGINS_DIR."""
    # Values are written as JSON strings, which are valid in YAML and have safe quotes. Flink's scripts read env.* keys
    # with sed, so these have no quotes.
    lines = [f"{k}: {v if k.startswith('env.') else json.dumps(v)}" for k, v in sorted(values.items())]
    (layout.flink_conf / "config.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("log4j-console.properties", "log4j-cli.properties"):
        shutil.copyfile(repository() / "flink-conf" / name, layout.flink_conf / name)
    (layout.flink_conf / "zoo.cfg").write_text(_zoo_cfg(layout, ports), encoding="utf-8")
    # PyFlink's own jar is one of them, so that its classes are loaded once and not with each job: see
    # classloader.resolve-order in config.yaml.
    own = [*(layout.flink_home / "lib").glob("*.jar"), *(layout.flink_home / "opt").glob("flink-python-*.jar")]
    _link_all(layout.flink_lib, [*own, *(layout.jars / "flink-lib").iterdir()])
    package_plugins = [layout.flink_home / "plugins" / name for name in PACKAGE_PLUGINS]
    _link_all(layout.flink_plugins, [*package_plugins, *(layout.jars / "flink-plugins").iterdir()])


def _zoo_cfg(layout: Layout, ports: Mapping[str, int]) -> str:
    return "\n".join(
        (
            # A session lasts 2 to 20 ticks, so this allows the 10 s for which Flink asks.
            "tickTime=1000",
            f"dataDir={layout.data / 'zookeeper'}",
            f"clientPort={ports['zookeeper']}",
            f"clientPortAddress={HOST}",
            # The admin server's default port is that of the ingest service.
            "admin.enableServer=false",
            "4lw.commands.whitelist=srvr",
            "autopurge.purgeInterval=1",
            "autopurge.snapRetainCount=3",
            "",
        )
    )


def _link_all(folder: Path, targets: Sequence[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for target in targets:
        (folder / target.name).symlink_to(target)


def environment(layout: Layout) -> dict[str, str]:
    """The variables by which the package's scripts and PyFlink find this stack's folders."""
    return {
        "FLINK_HOME": str(layout.flink_home),
        "FLINK_CONF_DIR": str(layout.flink_conf),
        "FLINK_LIB_DIR": str(layout.flink_lib),
        "FLINK_OPT_DIR": str(layout.flink_home / "opt"),
        "FLINK_PLUGINS_DIR": str(layout.flink_plugins),
        "FLINK_LOG_DIR": str(layout.logs),
        "FLINK_PID_DIR": str(layout.run),
        "FLINK_IDENT_STRING": "view-counts",
    }


def jvm_command(layout: Layout, values: Mapping[str, str], process: str, own: Mapping[str, str]) -> list[str]:
    """The java command of `process`: "jobmanager", "taskmanager" or "zookeeper". `own` are settings for it alone.

    It is the command that the package's scripts build. The scripts start two more JVMs each time, which delays the
    restart of a killed part by seconds. Here the result that needs Java is cached by its inputs.
    """
    logging = layout.flink_conf / "log4j-console.properties"
    common = [f"-Dlog4j.configurationFile={logging.as_uri()}", "-classpath", _classpath(layout)]
    if process == "zookeeper":
        heap = [f"-Xmx{ZOOKEEPER_HEAP_MIB}m", "-XX:+UseSerialGC", "-Dzookeeper.jmx.log4j.disable=true"]
        entry = "org.apache.flink.runtime.zookeeper.FlinkZooKeeperQuorumPeer"
        zoo_cfg = str(layout.flink_conf / "zoo.cfg")
        return [*jvm(layout), *heap, *common, entry, "--zkConfigFile", zoo_cfg, "--peerId", "1"]
    entry = {
        "jobmanager": "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
        "taskmanager": "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    }[process]
    memory, dynamic = _resources(layout, values, process)
    options = [*memory, "-XX:+UseG1GC", *values["env.java.opts.all"].split()]
    options += values.get(f"env.java.opts.{process}", "").split()
    dynamic += [word for key, value in own.items() for word in ("-D", f"{key}={value}")]
    return [*jvm(layout), *options, *common, entry, "--configDir", str(layout.flink_conf), *dynamic]


def _classpath(layout: Layout) -> str:
    jars = sorted(str(path) for path in layout.flink_lib.iterdir())
    # flink-dist is the last, as in the scripts, so that the other jars may override its classes.
    jars.sort(key=lambda path: "flink-dist" in path)
    return ":".join(jars)


def _resources(layout: Layout, values: Mapping[str, str], process: str) -> tuple[list[str], list[str]]:
    """(JVM memory flags, `-D` settings), as Flink itself computes them from its memory settings."""
    relevant = {key: value for key, value in sorted(values.items()) if key.startswith(MEMORY_KEYS)}
    version = next(layout.flink_lib.glob("flink-dist*")).name
    digest = hashlib.sha256(json.dumps([process, version, relevant]).encode()).hexdigest()[:24]
    cached = layout.cache / f"flink-resources-{digest}.json"
    if not cached.exists():
        command = {"jobmanager": "GET_JM_RESOURCE_PARAMS", "taskmanager": "GET_TM_RESOURCE_PARAMS"}[process]
        result = _bash_java_utils(layout, command)
        partial = cached.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(result), encoding="utf-8")
        partial.replace(cached)
    flags, dynamic = json.loads(cached.read_text(encoding="utf-8"))
    return flags.split(), dynamic.split()


def _bash_java_utils(layout: Layout, command: str) -> list[str]:
    tools_jar = layout.flink_home / "bin" / "bash-java-utils.jar"
    dist = next(layout.flink_lib.glob("flink-dist*"))
    finished = subprocess.run(
        [
            *(java(), "-XX:TieredStopAtLevel=1", "-classpath", f"{tools_jar}:{dist}"),
            *(
                "org.apache.flink.runtime.util.bash.BashJavaUtils",
                command,
                "--configDir",
                str(layout.flink_conf),
            ),
        ],
        env=inherited(layout.part_home),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = finished.stdout.splitlines()
    results = [line.removeprefix(RESULT_PREFIX) for line in lines if line.startswith(RESULT_PREFIX)]
    if finished.returncode != 0 or len(results) != 2:
        reasons = [line for line in (finished.stdout + finished.stderr).splitlines() if "Exception" in line]
        raise FlinkCommandError(f"Flink refuses the memory settings {MEMORY_KEYS}: {' '.join(reasons)}")
    return results


def job_id(printed: str) -> str:
    """The job id in what `flink run -d` printed. Raises FlinkCommandError."""
    return _only(JOB_ID, printed, "job id")


def savepoint_path(printed: str) -> str:
    """The path in what `flink stop` or `flink savepoint` printed. Raises FlinkCommandError."""
    return _only(SAVEPOINT_PATH, printed, "savepoint path")


def _only(pattern: re.Pattern[str], printed: str, what: str) -> str:
    found = pattern.search(printed)
    if found is None:
        raise FlinkCommandError(f"flink printed no {what}:\n{printed}")
    return found[1]


def run_client(layout: Layout, arguments: Sequence[str], environment_: Mapping[str, str], *, timeout_s: float) -> str:
    """Run Flink's command line, and return what it printed. Raises FlinkCommandError.

    It does the same as the package's `flink` script, which takes a second longer because it starts another JVM to read
    the settings.
    """
    options = _read_settings(layout.flink_conf / "config.yaml")["env.java.opts.all"].split()
    logging = [
        f"-Dlog.file={layout.log_file('flink-client')}",
        f"-Dlog4j.configurationFile={(layout.flink_conf / 'log4j-cli.properties').as_uri()}",
    ]
    entry = ["-classpath", _classpath(layout), "org.apache.flink.client.cli.CliFrontend"]
    try:
        finished = subprocess.run(
            [*jvm(layout), *CLIENT_JVM_OPTIONS, *options, *logging, *entry, *arguments],
            env={**environment_, "FLINK_OPT_DIR": str(opt_without_classes(layout))},
            cwd=repository(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        printed = error.output.decode(errors="replace") if isinstance(error.output, bytes) else ""
        raise FlinkCommandError(f"flink {' '.join(arguments)}: no end after {timeout_s:g} s\n{printed}") from error
    if finished.returncode != 0:
        raise FlinkCommandError(f"flink {' '.join(arguments)}: exit code {finished.returncode}\n{finished.stdout}")
    return finished.stdout


def opt_without_classes(layout: Layout) -> Path:
    """A FLINK_OPT_DIR in which PyFlink's jar, which the client sends with each Python job, has no classes.

    This cluster loads the classes from its `lib` (classloader.resolve-order in config.yaml), so 42 MB for each job need
    not go through the object store. Only the local stack does this: a client cannot know whether the `lib` of another
    cluster has the jar. See docs/decisions/0029.
    """
    folder = layout.home / "flink" / "opt"
    jar = folder / "flink-python-in-lib.jar"
    if not jar.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # A client that submits at the same time finds the whole file or none.
        partial = folder / f"{os.getpid()}-{threading.get_ident()}"
        with zipfile.ZipFile(partial, "w") as empty:
            empty.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n\n")
        partial.replace(jar)
    return folder
