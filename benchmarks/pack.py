"""Measures how fast the pack job packs a topic with one event in each record: `python -m benchmarks.pack`.

Two topics have the same events, as Avro single objects and as JSON. jobs/pack_events.py packs each into `view-events`.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.comparing.harness import Bench
from benchmarks.comparing.lineup import FULL, Contender
from benchmarks.inputs.events import Stream, Topic
from benchmarks.measuring import report, results
from benchmarks.measuring.machine import describe
from benchmarks.measuring.progress import METRIC_OVERRIDES
from schemas import registry
from schemas.jobs import PACK
from settings import Settings
from tools.load import Block
from tools.load.encoding import single_events
from tools.load.vocabulary import Names
from tools.stack import Stack, StackOptions

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")
TARGET = 150_000

console = Console()


def single_objects(block: Block, videos: Names) -> Iterator[tuple[int, bytes, int]]:
    """Records with a ViewEvent in Avro single-object encoding."""
    prefix = registry.prefix("ViewEvent")
    for salt, datum in zip(block.salt.tolist(), single_events(block, videos), strict=True):
        yield salt, prefix + datum, 1


def json_objects(block: Block, videos: Names) -> Iterator[tuple[int, bytes, int]]:
    """Records in JSON with the fields that a client would send."""
    names = [name.decode(errors="replace") for name in videos.names]
    columns = (block.salt.tolist(), block.events["video"].tolist(), block.events["viewed_at_ms"].tolist(), block.ids)
    for salt, video, viewed_at, identity in zip(*columns, strict=True):
        fields = {"event_id": identity.tobytes().hex(), "video_id": names[video], "viewed_at": viewed_at}
        yield salt, json.dumps(fields).encode(), 1


def main(
    *,
    events: Annotated[int, typer.Option(help="How many events each topic has.", min=100_000)] = 8_000_000,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure each framing, and print whether the target is reached."""
    topics = {
        "single_object": Topic("single-object", events, single_objects),
        "json": Topic("json", events, json_objects),
    }
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="view-counts-pack-") as folder:
        options = StackOptions(
            home=Path(folder), ports="free", parts=PARTS, flink_overrides=METRIC_OVERRIDES, graceful_stop=False
        )
        with Stack(options) as stack:
            stream = Stream(stack.endpoints["kafka"], partitions=Settings().kafka.partitions)
            stream.fill(topics.values())
            bench = Bench(stack, stream, {topic.name: topic for topic in topics.values()}, FULL)
            for framing, topic in topics.items():
                os.environ["VIEW_COUNTS_PACK_SOURCE_TOPIC"] = topic.name
                os.environ["VIEW_COUNTS_PACK_FRAMING"] = framing
                contender = Contender(f"pack-{framing}", "p", framing, topic.name, ("-py", PACK.file))
                line = bench.run(contender, 0)
                console.print(report.line(line), highlight=False)
                lines.append(line)
    rates = {line["title"]: line["steady"]["events_per_s"] for line in lines}
    is_reached = rates["single_object"] >= TARGET
    console.print(f"target {TARGET:,} events/s: {'reached' if is_reached else 'NOT REACHED'}", highlight=False)
    result = {"benchmark": "pack", "machine": describe(), "runs": lines, "is_reached": is_reached}
    results.publish("pack", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
