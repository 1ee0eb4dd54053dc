"""Measures what the archive costs with each codec: `python -m benchmarks.archive`.

jobs/archive_events.py copies one topic with each codec, by one subtask. Bytes are those of the files, which are all
read again. Events have the same fields as those of the demo, and random ids.
"""

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from benchmarks.inputs.events import HOUR_MS, Stream, Topic, batches_topic
from benchmarks.measuring import results
from benchmarks.measuring.cpu import cpu_seconds
from benchmarks.measuring.machine import describe
from benchmarks.measuring.progress import METRIC_OVERRIDES, Progress
from connectors.installation import ensure_topics
from schemas.jobs import ARCHIVE
from settings import ArchiveSettings, Settings
from tools.stack import Stack, StackOptions
from tools.stack.files import S3_BUCKET
from udfs.stores.archive import Archive, filesystem

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")
CODECS = get_args(ArchiveSettings.model_fields["codec"].annotation)
BATCH = 2000
ROLL_MS = 5000
DAY_MS = 24 * HOUR_MS
HOURS = 2
HEARTBEATS_AFTER_MS = 2 * HOUR_MS
PATIENCE_S = 300.0

console = Console()


@contextmanager
def filled_stack(topic: Topic, *others: Topic, hours: int) -> Iterator[tuple[Stack, Stream]]:
    """A stack with filled topics. This process becomes its client, and `topic` its events topic.

    The events are in the last `hours` hours of a day. Heartbeats long after them complete that day.
    """
    with tempfile.TemporaryDirectory(prefix="view-counts-archive-") as folder:
        options = StackOptions(
            home=Path(folder), ports="free", parts=PARTS, flink_overrides=METRIC_OVERRIDES, graceful_stop=False
        )
        with Stack(options) as stack:
            midnight_ms = (int(time.time() * 1000) - HEARTBEATS_AFTER_MS) // DAY_MS * DAY_MS
            stream = Stream(
                stack.endpoints["kafka"],
                partitions=Settings().kafka.partitions,
                events_per_minute=math.ceil(topic.events / hours / 60),
                start_ms=midnight_ms - hours * HOUR_MS,
                heartbeats_after_ms=HEARTBEATS_AFTER_MS,
            )
            stream.fill([topic, *others])
            os.environ.update(stack.environment())
            os.environ.update(
                {"VIEW_COUNTS_KAFKA_EVENTS_TOPIC": topic.name, "VIEW_COUNTS_ARCHIVE_ROLL_MS": str(ROLL_MS)}
            )
            ensure_topics(Settings(), [f"{topic.name} message.timestamp.type=CreateTime"])
            yield stack, stream


def archive_path(codec: str) -> str:
    """The path of the archive with this codec."""
    return f"s3://{S3_BUCKET}/archive-{codec}"


def copy(stack: Stack, codec: str, topic: Topic) -> dict[str, float]:
    """Copy the topic. Returns what it cost, and how large the archive is."""
    events, records = topic.filled, sum(map(len, topic.events_by_record.values()))
    path = archive_path(codec)
    os.environ.update({"VIEW_COUNTS_ARCHIVE_PATH": path, "VIEW_COUNTS_ARCHIVE_CODEC": codec})
    job = stack.flink_run(["-p", "1", "-py", ARCHIVE.file])
    progress = Progress(stack, job, topic.name, topic.events_until())
    _wait(lambda: progress.events() > 0)
    began_s, cpu_before = time.monotonic(), cpu_seconds(stack)
    _wait(lambda: progress.events() >= events)
    seconds = time.monotonic() - began_s
    archive = Archive(filesystem(Settings().s3), path)
    # A file never changes once it exists, so each is read once.
    archived: dict[str, int] = {}

    def read_new() -> int:
        for file in archive.files():
            if file.path not in archived:
                archived[file.path] = sum(1 for _ in archive.read(file))
        return sum(archived.values())

    _wait(lambda: read_new() == records)
    cpu_s = sum(cpu_seconds(stack).values()) - sum(cpu_before.values())
    stack.flink("cancel", job)
    files = archive.files()
    return {
        "events_per_s": round(events / seconds),
        "cpu_s_per_million": round(cpu_s / events * 1e6, 2),
        "bytes_per_event": round(sum(file.size for file in files) / events, 2),
        "files": len(files),
    }


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the archive job did not get so far within {PATIENCE_S:.0f} s")
        time.sleep(0.2)


def main(
    *,
    events: Annotated[int, typer.Option(help="How many events to copy with each codec.", min=100_000)] = 16_000_000,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure each codec."""
    topic = batches_topic("archived", events, BATCH)
    codecs: dict[str, dict[str, float]] = {}
    with filled_stack(topic, hours=HOURS) as (stack, _):
        for codec in CODECS:
            codecs[codec] = copy(stack, codec, topic)
            console.print(f"{codec}: {codecs[codec]}", highlight=False)
    result = {"benchmark": "archive", "machine": describe(), "events": topic.filled, "codecs": codecs}
    results.publish("archive", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
