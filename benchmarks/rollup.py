"""What counting the archive again costs: `python -m benchmarks.rollup`.

Events are archived by jobs/archive_events.py, and counted from there by jobs/rollup.py, in one job: slices, then
minutes, hours, days and totals, to Parquet and to Cassandra. Every minute of the Parquet is compared with the truth.
Rates are events in the counted slices by the time between the start and the end of a stage, or of the job.
"""

import os
from typing import Annotated, Any

import pyarrow.fs
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.archive import CODECS, copy, filled_stack
from benchmarks.events import Stream, Topic, batches_topic
from benchmarks.machine import describe
from settings import Settings
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from udfs.sinks.history_store import HistoryStore
from udfs.sources.archive import filesystem

PARALLELISM = 2
BATCH = 2000
TARGET = 1_500_000

console = Console()


def roll_up(stack: Stack, codec: str, topic: Topic, stream: Stream) -> dict[str, Any]:
    """Count what is archived with a codec."""
    path = f"s3://{S3_BUCKET}/history-{codec}"
    os.environ["VIEW_COUNTS_HISTORY_PATH"] = path
    printed = stack.flink("run", "-p", str(PARALLELISM), "-py", "jobs/rollup.py", timeout_s=3600)
    console.print(printed.strip().splitlines()[-1], highlight=False)
    jobs = (stack.flink_rest("/jobs/overview") or {"jobs": []})["jobs"]
    job = max((one for one in jobs if one["name"] == "rollup"), key=lambda one: one["start-time"])
    vertices = stack.flink_rest(f"/jobs/{job['jid']}")["vertices"]
    store, settings = filesystem(Settings().s3), Settings()
    history = HistoryStore(store, path)
    manifest = history.manifest(settings.counting.shards)
    events = sum(sum(topic.events_by_record[p][:until]) for p, until in manifest.next_offsets.items())
    seconds = job["duration"] / 1000
    return {
        "events": events,
        "seconds": seconds,
        "events_per_s": round(events / seconds),
        "stages_s": {vertex["name"].split(" -> ")[-1][:40]: round(vertex["duration"] / 1000, 1) for vertex in vertices},
        **_checked(history, stream, topic, manifest.through_hour, settings.counting.shards),
        "slices_bytes_per_event": round(_size(store, path, "slices") / events, 2),
    }


def _checked(history: HistoryStore, stream: Stream, topic: Topic, through: int, shards: int) -> dict[str, Any]:
    """Rows and bytes of the minutes; raises when a count is not the generator's."""
    truth = {cell: n for cell, n in stream.truth(topic.filled).items() if cell[2] < through * 60}
    found: dict[tuple[str, str, int], int] = {}
    for paths in history.manifest(shards).files["minutes"].values():
        for path in paths.values():
            table = history.get(path)
            minutes = (at // 60_000 for at in table["minute"].cast("int64").to_pylist())
            names = zip(table["video_id"].to_pylist(), table["kind"].to_pylist(), minutes, strict=True)
            found.update(zip(names, table["views"].to_pylist(), strict=True))
    if found != truth:
        wrong = [(cell, found.get(cell), n) for cell, n in truth.items() if found.get(cell) != n][:5]
        raise RuntimeError(f"the rollup counts {len(found)} cells and the truth has {len(truth)}; {wrong}")
    return {"minute_rows": len(found)}


def _size(store: pyarrow.fs.FileSystem, path: str, folder: str) -> int:
    selector = pyarrow.fs.FileSelector(f"{path.removeprefix('s3://')}/{folder}", recursive=True)
    return sum(info.size or 0 for info in store.get_file_info(selector))


def main(
    *,
    events: Annotated[int, typer.Option(help="Archived and counted.", min=1_000_000)] = 24_000_000,
    codecs: Annotated[str, typer.Option(help="Of the archive.")] = ",".join(CODECS),
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Archive and count."""
    topic = batches_topic("rolled-up", events, BATCH)
    found: dict[str, Any] = {}
    with filled_stack(topic) as (stack, stream):
        for codec in codecs.split(","):
            archive = copy(stack, codec, topic)
            found[codec] = {"archive": archive, **roll_up(stack, codec, topic, stream)}
            console.print(f"{codec}: {found[codec]}", highlight=False)
    best = max(of["events_per_s"] for of in found.values())
    console.print(
        f"rollup: {best:,} events/s; target {TARGET:,}: {'reached' if best >= TARGET else 'NOT REACHED'}",
        highlight=False,
    )
    result = {"benchmark": "rollup", "machine": describe(), "parallelism": PARALLELISM, "codecs": found}
    results.publish("rollup", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
