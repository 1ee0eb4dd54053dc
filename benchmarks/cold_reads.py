"""Measures how long it takes to read counts of one video from history: `python -m benchmarks.cold_reads`.

It writes files of hours to the object store of a local stack as a rollup does, with every video in each hour. Then it
asks for hours of random videos as the query service does, one request at a time: first from files that were never read,
then from files whose footers were read before. Each answer is compared with what was written.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.fs
import typer
from rich.console import Console

from benchmarks.measuring import results
from benchmarks.measuring.machine import describe
from services.query.counts.cold import History
from services.query.counts.completeness import HOUR
from tools.stack import Stack, StackOptions
from tools.stack.files import S3_BUCKET
from tools.stack.object_store import s3_settings
from udfs.logic.history.manifest import file_name, hour_start, no_history
from udfs.logic.history.register import manifest_name
from udfs.logic.history.tables import HOURS, TIME
from udfs.logic.kernels.shards import shard_of
from udfs.stores.archive import filesystem
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

PATH = f"s3://{S3_BUCKET}/cold-reads"
FIRST_HOUR = 490_000
MANIFEST = manifest_name(1, "cold-reads")
SHARDS = 8
# (hours of one request, number of requests)
REQUESTS = ((1, 200), (24, 40), (240, 8))

console = Console()


def views_of(number: int, hour: int) -> int:
    """The views of a video in an hour, which differ for each video and hour."""
    return number * 1000 + hour - FIRST_HOUR + 1


def name_of(number: int) -> str:
    """The name of a video, which is about as long as real ones."""
    return f"video-{number:08d}"


def write(store: HistoryStore, videos: int, hours: int) -> int:
    """Write all files and the manifest. Returns about how many rows one file has."""
    by_shard: dict[int, list[int]] = {shard: [] for shard in range(SHARDS)}
    for number in range(videos):
        by_shard[shard_of(name_of(number), SHARDS)].append(number)
    manifest = msgspec.structs.replace(no_history(SHARDS), run=1, through_hour=FIRST_HOUR + hours)
    for shard, numbers in by_shard.items():
        names = pa.array([name_of(number) for number in numbers])
        for hour in range(FIRST_HOUR, FIRST_HOUR + hours):
            columns = {
                "video_id": names,
                "kind": pa.repeat(pa.scalar("view"), len(numbers)),
                "hour": pa.repeat(pa.scalar(hour * 3_600_000, pa.int64()), len(numbers)).cast(TIME),
                "views": pa.array([views_of(number, hour) for number in numbers]),
                "late_added": pa.repeat(pa.scalar(0, pa.int64()), len(numbers)),
            }
            path = file_name("hours", hour, shard, "1-test")
            store.put(path, pa.table(columns, schema=HOURS))
            manifest.files["hours"].setdefault(hour, {})[shard] = path
    store.put_manifest(MANIFEST, manifest)
    return videos // SHARDS


async def ask(history: History, number: int, first: int, hours: int) -> float:
    """Milliseconds until the hours of a video are read. Raises RuntimeError if they differ from what was written."""
    span = (hour_start(first), hour_start(first) + hours * HOUR)
    began_s = time.perf_counter()
    found = await history.rows(MANIFEST, "hours", name_of(number), "view", [span])
    took_ms = (time.perf_counter() - began_s) * 1000
    hour = timedelta(hours=1)
    got = {(at.replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)) // hour: views for at, views in found}
    if got != {at: views_of(number, at) for at in range(first, first + hours)}:
        raise RuntimeError(f"{name_of(number)} from hour {first}: {len(got)} of {hours} hours, or other numbers")
    return took_ms


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The median, the 95th percentile and the maximum."""
    ordered = sorted(values)
    return {name: round(ordered[int(len(ordered) * part)], 1) for name, part in (("p50", 0.5), ("p95", 0.95))} | {
        "max": round(ordered[-1], 1)
    }


async def measure(store: pyarrow.fs.FileSystem, videos: int, hours: int) -> dict[str, Any]:
    """Milliseconds of a request, by the number of hours that it asks for, with unread footers and with known ones."""
    figures: dict[str, Any] = {}
    chance = random.Random(1)  # noqa: S311 - any will do
    for wanted, requests in REQUESTS:
        if wanted > hours:
            continue
        known = History(HistoryFiles(store, PATH), files_max=hours)
        for number in chance.sample(range(videos), SHARDS * 8):
            await ask(known, number, FIRST_HOUR, hours)
        first_ms, again_ms = [], []
        for _ in range(requests):
            number, first = chance.randrange(videos), FIRST_HOUR + chance.randrange(hours - wanted + 1)
            fresh = History(HistoryFiles(store, PATH), files_max=hours)
            # The manifest is read before, because a service knows it from earlier answers.
            await fresh.rows(MANIFEST, "minutes", name_of(number), "view", [(hour_start(first), hour_start(first + 1))])
            first_ms.append(await ask(fresh, number, first, wanted))
            fresh.stop()
            again_ms.append(await ask(known, number, first, wanted))
        known.stop()
        figures[f"{wanted} hours"] = {"first_ms": quantiles(first_ms), "again_ms": quantiles(again_ms)}
    return figures


def main(
    *,
    videos: Annotated[int, typer.Option(help="How many videos have views in each hour.", min=SHARDS)] = 200_000,
    hours: Annotated[int, typer.Option(help="How many hours history has.", min=1)] = 240,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Write history, read from it, and print how long it took."""
    with tempfile.TemporaryDirectory(prefix="view-counts-cold-") as folder:
        options = StackOptions(home=Path(folder), ports="free", parts=("seaweedfs",), graceful_stop=False)
        with Stack(options) as stack:
            s3 = s3_settings(stack)
            store = filesystem(s3)
            rows = write(HistoryStore(store, PATH), videos, hours)
            figures = asyncio.run(measure(store, videos, hours))
    for name, of in figures.items():
        console.print(f"{name}: {of}", highlight=False)
    result = {"benchmark": "cold_reads", "machine": describe(), "rows_per_file": rows, "hours": hours, **figures}
    results.publish("cold-reads", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
