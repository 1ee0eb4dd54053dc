"""Checks before a job is submitted. They end the process with a clear line if the job could not count correctly."""

import re
import sys
import time
from collections.abc import Mapping

from confluent_kafka import KafkaException
from py4j.protocol import Py4JJavaError
from pydantic import ValidationError
from pyflink.common import Configuration
from pyflink.datastream import RuntimeExecutionMode, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from connectors.installation import check_topics
from connectors.kafka_admin import TopicMismatchError, topic_id
from connectors.secret_files import SecretFileError
from settings import S3Settings, Settings
from settings.refused import refused_settings
from udfs.stages.rollup_start import made_anew
from udfs.stores.archive import filesystem
from udfs.stores.topic_marker import TopicMarker, mark_topic, marked_topic

INTERVAL = "execution.checkpointing.interval"
GUARANTEE = "execution.checkpointing.mode"
PYTHON_MODE = "python.execution-mode"
# How the names of settings begin with which Flink's file systems reach an object store, keys among them.
_STORE_OPTIONS = ("s3.", "s3a.", "fs.s3")


_BATCH = {
    # All stages run from the beginning, as in a stream. The operators of a slot then share one Python worker. If the
    # stages ran one after another, each would start a worker of its own (docs/decisions/0045).
    "execution.batch-shuffle-mode": "ALL_EXCHANGES_PIPELINED",
    # Flink's scheduler for batch jobs does not support pipelined exchanges.
    "jobmanager.scheduler": "Default",
    # The job survives a killed process, but does not retry for ever when the same error comes again.
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "5",
    "restart-strategy.fixed-delay.delay": "2 s",
}


def job_environment() -> StreamExecutionEnvironment:
    """The environment of a job, without the settings of Flink's own access to the object store.

    All settings of the client travel with a job, and the JobManager keeps them in the object store. The processes of
    the cluster have these from their own configuration, and need none of a job's.
    """
    env = StreamExecutionEnvironment.get_execution_environment()
    configuration = _flink_settings(env)
    for name in configuration.to_dict():
        if name.startswith(_STORE_OPTIONS):
            configuration.remove_config(name)
    return env


def batch_environment() -> StreamExecutionEnvironment:
    """The environment of a batch job: batch mode, pipelined stages, and at most five restarts."""
    env = job_environment()
    configuration = Configuration()
    for key, value in _BATCH.items():
        configuration.set_string(key, value)
    env.configure(configuration)
    env.set_runtime_mode(RuntimeExecutionMode.BATCH)
    return env


def without_credentials(settings: Settings) -> Settings:
    """A copy without the credentials of the object store, for the job graph. Workers have their own credentials."""
    return settings.model_copy(update={"s3": S3Settings()})


def settings_or_exit() -> Settings:
    """The settings in the environment. Exits with a line for each that is refused."""
    try:
        return Settings()
    except ValidationError as error:
        sys.exit("\n".join(refused_settings(error)))


def check_topics_or_exit(settings: Settings) -> None:
    """Exit with a line for each way in which Kafka's topics are not as the product needs, or if Kafka is away.

    Differences that cannot make a count wrong are only printed.
    """
    try:
        for one in check_topics(settings):
            print(f"note: {one.line}")
    except TopicMismatchError as error:
        sys.exit("\n".join(f"refused: {line}" for line in str(error).splitlines()))
    except SecretFileError as error:
        sys.exit(f"refused: {error}")
    except KafkaException as error:
        sys.exit(f"refused: VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS={settings.kafka.bootstrap_servers}: {error}")


def mark_archive_or_exit(settings: Settings) -> None:
    """Write into the archive which topic it copies. Exit with a line if it copies another topic of the same name."""
    store, path = filesystem(settings.s3), settings.archive.path
    topic = settings.kafka.events_topic
    found = topic_id(settings.kafka, topic)
    marker = marked_topic(store, path)
    if marker is None:
        mark_topic(store, path, TopicMarker(topic, found))
    elif found and marker.id and marker.id != found:
        sys.exit(f"refused: {made_anew(topic, found, marker.id)}")


def check_flink_or_exit(env: StreamExecutionEnvironment, settings: Settings) -> None:
    """Exit with a line for each of Flink's own settings with which the job could not count correctly."""
    refused = refused_flink_settings(_flink_settings(env).to_dict(), env.get_parallelism(), settings)
    if refused:
        sys.exit("\n".join(refused))


def _flink_settings(env: StreamExecutionEnvironment) -> Configuration:
    return Configuration(j_configuration=env._j_stream_execution_environment.getConfiguration())  # noqa: SLF001


def refused_flink_settings(flink: Mapping[str, str], parallelism: int, settings: Settings) -> list[str]:
    """A line, which begins with "refused:", for each of Flink's settings with which the job could count wrongly."""
    lines = []
    interval = flink.get(INTERVAL)
    if interval is None or not re.search("[1-9]", interval):
        lines.append(
            f"refused: {INTERVAL}={interval}: without checkpoints every restart would read the whole topic again; set "
            "it, for example to 5s"
        )
    guarantee = flink.get(GUARANTEE, "EXACTLY_ONCE")
    if guarantee != "EXACTLY_ONCE":
        lines.append(
            f"refused: {GUARANTEE}={guarantee}: a restored state could already contain events that the job reads "
            "again; use EXACTLY_ONCE"
        )
    mode = flink.get(PYTHON_MODE, "process")
    if mode != "process":
        lines.append(
            f"refused: {PYTHON_MODE}={mode}: all subtasks would share one interpreter, and a restore in another mode "
            "would lose state without an error; use process"
        )
    most = settings.counting.max_parallelism
    if parallelism > most:
        lines.append(
            f"refused: parallelism={parallelism} is above VIEW_COUNTS_COUNTING_MAX_PARALLELISM={most}, which cannot "
            f"change while the state lives; use at most {most}"
        )
    return lines


def slots_needed(env: StreamExecutionEnvironment, name: str) -> int:
    """How many task slots the job needs whose graph was added to the environment.

    Flink compiles the graph and raises an error if the graph is wrong, but submits nothing. Operators of one slot
    sharing group share slots, so the result is the sum of the highest parallelism of each group.
    """
    graph = env._generate_stream_graph(True, name)  # noqa: SLF001 - as execute_async has it
    loader = get_gateway().jvm.java.lang.Thread.currentThread().getContextClassLoader()
    compiled = graph.getJobGraph(loader, None)
    widest: dict[str, int] = {}
    for vertex in compiled.getVerticesAsArray():
        group = str(vertex.getSlotSharingGroup().getSlotSharingGroupId())
        widest[group] = max(widest.get(group, 0), vertex.getParallelism())
    return sum(widest.values())


def execute_until(env: StreamExecutionEnvironment, name: str, deadline_ms: int) -> None:
    """Run a batch job to its end. At `deadline_ms`, in ms since 1970, cancel it and exit with a line.

    Raises Py4JJavaError with the cause if the job fails.
    """
    client = env.execute_async(name)
    units = get_gateway().jvm.java.util.concurrent.TimeUnit
    future = client._j_job_client.getJobExecutionResult()  # noqa: SLF001 - PyFlink's own future waits without an end
    try:
        future.get(max(0, deadline_ms - int(time.time() * 1000)), units.MILLISECONDS)
    except Py4JJavaError as error:
        if "java.util.concurrent.TimeoutException" in str(error.java_exception.getClass()):
            client.cancel().result()
            sys.exit(f"{name} was cancelled at its deadline, history.deadline_s; the next run does what is left")
        raise
