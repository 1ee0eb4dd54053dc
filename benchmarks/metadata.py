"""Measures how long the job takes to read the metadata of many videos: `python -m benchmarks.metadata`.

It publishes the metadata, and then submits the count job. The topic has one partition, which is read in order. So when
the video that was published last has its title, the job knows all videos. Then the job is stopped with a savepoint and
started from it, and the same is measured with a view of another kind. It also measures what checkpoints cost.
"""

import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx2
import psutil
import typer
from rich.console import Console

from benchmarks.measuring import checkpoints, results
from benchmarks.measuring.machine import describe
from connectors.cassandra import connect
from schemas.jobs import COUNT
from settings import CassandraSettings, Settings
from tools.metadata import VideoMetadata, publish
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import HOST

TARGET_S = 30.0
PATIENCE_S = 300.0
POLL_S = 0.1

console = Console()


class Observer:
    """A client that sends views, and reads counts and titles."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ingest = httpx2.Client(base_url=stack.endpoints["ingest"], timeout=60, trust_env=False)
        self._session: Any = connect(CassandraSettings(hosts=HOST, port=stack.ports["cassandra"]))

    def view(self, video: str, kind: str) -> None:
        """Send one view."""
        event = {"event_id": str(uuid.uuid4()), "video_id": video, "viewed_at": datetime.now(UTC).isoformat()}
        self._ingest.post("/v1/events", json={"events": [{**event, "kind": kind}]}).raise_for_status()

    def row(self, video: str, kind: str) -> tuple[int, str | None]:
        """(views, title) of the newest partition; 0 and None before there is one."""
        found = self._session.execute(
            "SELECT sum(views) AS views, max(title) AS title FROM views_by_minute "
            "WHERE video_id = %s AND kind = %s AND day = %s",
            (video, kind, datetime.now(UTC).date()),
        ).one()
        return found.views or 0, found.title

    def is_counted(self, video: str, kind: str) -> bool:
        """Whether the only view of the video is counted."""
        return self.row(video, kind)[0] == 1

    def is_titled(self, video: str, kind: str) -> bool:
        """Whether the newest partition of the video has a title."""
        return self.row(video, kind)[1] is not None

    def seconds_until(self, condition: Callable[[], bool], since_s: float) -> float:
        """Wait until the condition is true. Returns the seconds since `since_s`."""
        while not condition():
            if time.monotonic() - since_s > PATIENCE_S:
                raise TimeoutError(f"the count or the title was not visible within {PATIENCE_S:.0f} s")
            time.sleep(POLL_S)
        return round(time.monotonic() - since_s, 1)

    def workers_mb(self) -> int:
        """The resident memory of all Python workers together, in MiB."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self._stack.python_workers()) >> 20

    def close(self) -> None:
        """Close the connections."""
        self._ingest.close()
        self._session.cluster.shutdown()


def measure(stack: Stack, videos: int) -> dict[str, Any]:
    """All figures of the benchmark."""
    observer = Observer(stack)
    try:
        last = f"video-{videos - 1:07d}"
        kafka = Settings().kafka.model_copy(update={"bootstrap_servers": stack.endpoints["kafka"]})
        began_s = time.monotonic()
        publish(kafka, (metadata(at) for at in range(videos)))
        figures: dict[str, Any] = {"published_s": round(time.monotonic() - began_s, 1)}
        job = ""
        for phase, kind, restore in (("first start", "view", False), ("restored", "like", True)):
            arguments = ["-py", COUNT.file]
            if restore:
                arguments = ["-s", stack.flink_stop(job), *arguments]
            observer.view(last, kind)
            submitted_s = time.monotonic()
            job = stack.flink_run(arguments)
            counted_s = observer.seconds_until(partial(observer.is_counted, last, kind), submitted_s)
            titled_s = observer.seconds_until(partial(observer.is_titled, last, kind), submitted_s)
            figures[phase] = {
                "submitted_to_counted_s": counted_s,
                "submitted_to_titled_s": titled_s,
                "python_workers_mb": observer.workers_mb(),
                "checkpoints": checkpoints.cost(stack, job),
            }
            console.print(f"{phase}: counted after {counted_s} s, all known after {titled_s} s", highlight=False)
        began_s = time.monotonic()
        publish(kafka, [metadata(videos)])
        observer.view(f"video-{videos:07d}", "view")
        figures["one_more_s"] = observer.seconds_until(
            lambda: observer.row(f"video-{videos:07d}", "view")[1] is not None, began_s
        )
        return figures
    finally:
        observer.close()


def metadata(number: int) -> VideoMetadata:
    """The metadata of a video, which is about as long as real metadata."""
    title = f"The title of video {number}, which is about as long as titles are"
    return VideoMetadata(
        f"video-{number:07d}", title, f"UC-channel-{number % 9973:013d}", f"Channel {number % 9973}", number
    )


def main(
    *,
    videos: Annotated[int, typer.Option(help="How many videos have metadata.", min=1)] = 200_000,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure, and print whether the target is reached."""
    with (
        tempfile.TemporaryDirectory(prefix="view-counts-metadata-") as folder,
        Stack(StackOptions(home=Path(folder), ports="free", graceful_stop=False)) as stack,
    ):
        figures = measure(stack, videos)
    is_reached = figures["first start"]["submitted_to_titled_s"] < TARGET_S
    console.print(
        f"{videos:,} videos known {figures['first start']['submitted_to_titled_s']} s after the job was submitted; "
        f"target below {TARGET_S:.0f} s: {'reached' if is_reached else 'NOT REACHED'}",
        highlight=False,
    )
    result = {"benchmark": "metadata", "machine": describe(), "videos": videos, **figures, "is_reached": is_reached}
    results.publish("metadata", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
