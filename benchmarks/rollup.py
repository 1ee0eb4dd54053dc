"""What counting the archive again costs, beside Flink SQL and polars: `python -m benchmarks.rollup`.

Events are archived by jobs/archive_events.py, and counted from there by jobs/rollup.py, in one job: slices, then all
tables of history, to Parquet and to Cassandra. The same events lie in the object store as Avro files of what SQL and
polars need of them, and these count minutes alone. Every minute of each is compared with the truth. Rates are events by
the time between the start and the end of a job, or of a stage.
"""

import io
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from typing import Annotated, Any

import fastavro
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.archive import CODECS, HOURS, archive_path, copy, filled_stack
from benchmarks.cpu import PYTHON_WORKERS, cpu_seconds
from benchmarks.events import Stream, Topic, batches_topic, plain_batches_topic
from benchmarks.lineup import JOBS
from benchmarks.machine import describe
from benchmarks.memory import peak_of_workers
from benchmarks.plain_files import write_plain_files
from settings import Settings
from tools.load.prediction import Cells
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from udfs.logic.history import DATA_SETS, Manifest
from udfs.sinks.history_store import GROUP_ROWS, HistoryStore
from udfs.sources.archive import filesystem

PARALLELISM = 2
BATCH = 2000
TARGET = 1_500_000
TIMES_SQL = 3
PARQUET_CODECS = ("none", "snappy", "zstd", "gzip")
PLAIN = f"{S3_BUCKET}/plain-events"

console = Console()


def roll_up(stack: Stack, codec: str, topic: Topic, stream: Stream, turn: int) -> dict[str, Any]:
    """Count what is archived with a codec, to a history of this turn's own."""
    path = f"s3://{S3_BUCKET}/history-{codec}-{turn}"
    os.environ["VIEW_COUNTS_HISTORY_PATH"] = path
    cpu_before = cpu_seconds(stack)
    with peak_of_workers(stack) as peak:
        printed = stack.flink("run", "-p", str(PARALLELISM), "-py", "jobs/rollup.py", timeout_s=3600)
    cpu = {part: spent - cpu_before.get(part, 0.0) for part, spent in cpu_seconds(stack).items()}
    console.print(printed.strip().splitlines()[-1], highlight=False)
    job = _newest_job(stack, "rollup")
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
        "largest_worker_mib": peak.mib,
        "cpu_s_of_parts": {part: round(spent, 1) for part, spent in cpu.items() if part != PYTHON_WORKERS},
        "stages_s": {vertex["name"].split(" -> ")[-1][:40]: round(vertex["duration"] / 1000, 1) for vertex in vertices},
        **_checked(history, stream, topic, manifest.through_hour, settings.counting.shards),
        "slices_bytes_per_event": round(_size(store, path, "slices") / events, 2),
        "parquet": {name: _bytes_per_row(history, manifest, name) for name in DATA_SETS},
    }


def _bytes_per_row(history: HistoryStore, manifest: Manifest, data_set: str) -> dict[str, float]:
    """Of a data set's files, with each of PARQUET_CODECS, and their rows."""
    sizes: Counter[str] = Counter()
    rows = 0
    for path in {path for of in manifest.files[data_set].values() for path in of.values()}:
        table = history.get(path)
        rows += table.num_rows
        for codec in PARQUET_CODECS:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression=codec, row_group_size=GROUP_ROWS)
            sizes[codec] += sink.getvalue().size
    return {"rows": rows, **{codec: round(size / max(rows, 1), 2) for codec, size in sizes.items()}}


def by_sql(stack: Stack, dedup: str, topic: Topic, stream: Stream, turn: int) -> dict[str, Any]:
    """Flink SQL in batch mode, from plain files."""
    minutes = f"{S3_BUCKET}/sql-{dedup}-{turn}"
    job_arguments = ["--events", f"s3://{PLAIN}", "--minutes", f"s3://{minutes}", "--dedup", dedup]
    script = f"{JOBS}/sql_batch_job.py"
    stack.flink("run", "-p", str(PARALLELISM), "-py", script, *job_arguments, timeout_s=3600)
    seconds = _newest_job(stack, "insert-into")["duration"] / 1000
    store = filesystem(Settings().s3)
    found: dict[tuple[str, str, int], int] = {}
    for info in store.get_file_info(pyarrow.fs.FileSelector(minutes, recursive=True)):
        if info.type is pyarrow.fs.FileType.File:
            with store.open_input_stream(info.path) as file:
                rows: Any = fastavro.reader(io.BytesIO(file.read()))
                found.update({(row["video_id"], row["kind"], row["at_minute"]): row["views"] for row in rows})
    _compare("Flink SQL", found, stream.truth(topic.filled))
    return {"seconds": seconds, "events_per_s": round(topic.filled / seconds)}


def by_polars(topic: Topic, stream: Stream) -> dict[str, Any]:
    """Polars in a process of its own, from plain files."""
    target = f"{S3_BUCKET}/polars.parquet"
    command = [sys.executable, "-m", "benchmarks.contenders.polars_count", PLAIN, target]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with filesystem(Settings().s3).open_input_file(target) as file:
        rows = pq.read_table(file).to_pylist()
    found = {(row["video_id"], row["kind"], row["at_minute"]): row["views"] for row in rows}
    _compare("polars", found, stream.truth(topic.filled))
    return {**figures, "events_per_s": round(topic.filled / figures["seconds"])}


def _newest_job(stack: Stack, name: str) -> dict[str, Any]:
    jobs = (stack.flink_rest("/jobs/overview") or {"jobs": []})["jobs"]
    return max((one for one in jobs if one["name"].startswith(name)), key=lambda one: one["start-time"])


def _compare(who: str, found: Cells, truth: Cells) -> None:
    if found != truth:
        wrong = [(cell, found.get(cell), n) for cell, n in truth.items() if found.get(cell) != n][:5]
        raise RuntimeError(f"{who} counts {len(found)} cells and the truth has {len(truth)}; {wrong}")


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
    _compare("the rollup", found, truth)
    return {"minute_rows": len(found)}


def _size(store: pyarrow.fs.FileSystem, path: str, folder: str) -> int:
    selector = pyarrow.fs.FileSelector(f"{path.removeprefix('s3://')}/{folder}", recursive=True)
    return sum(info.size or 0 for info in store.get_file_info(selector))


def main(
    *,
    events: Annotated[int, typer.Option(help="Archived and counted.", min=1_000_000)] = 24_000_000,
    hours: Annotated[int, typer.Option(help="In which they arrive.", min=1)] = HOURS,
    codecs: Annotated[str, typer.Option(help="Of the archive.")] = CODECS[0],
    turns: Annotated[int, typer.Option(help="Of each.", min=1)] = 2,
    others: Annotated[bool, typer.Option(help="Count by Flink SQL and polars too.")] = True,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Archive and count."""
    topic, plain = batches_topic("rolled-up", events, BATCH), plain_batches_topic("plain", events, BATCH)
    found: dict[str, list[dict[str, Any]]] = {}

    def add(who: str, figures: dict[str, Any]) -> None:
        found.setdefault(who, []).append(figures)
        console.print(f"{who}: {figures}", highlight=False)

    topics = (topic, plain) if others else (topic,)
    with filled_stack(*topics, hours=hours) as (stack, stream):
        if others:
            write_plain_files(stack.endpoints["kafka"], plain, filesystem(Settings().s3), PLAIN)
        archives = {codec: copy(stack, codec, topic) for codec in codecs.split(",")}
        # Side by side, turn by turn: what runs first on a new JVM waits for its compiler.
        for turn in range(turns):
            for codec in archives:
                os.environ["VIEW_COUNTS_ARCHIVE_PATH"] = archive_path(codec)
                add(f"rollup-{codec}", roll_up(stack, codec, topic, stream, turn))
            if others:
                for dedup in ("distinct", "count-distinct"):
                    add(f"sql-{dedup}", by_sql(stack, dedup, plain, stream, turn))
                add("polars", by_polars(plain, stream))
    console.print({"archives": archives}, highlight=False)
    median = {who: statistics.median(turn["events_per_s"] for turn in of) for who, of in found.items()}
    console.print(median, highlight=False)
    best = max(figure for who, figure in median.items() if who.startswith("rollup"))
    reached = [("events/s", best, TARGET)]
    if others:
        best_sql = max(figure for who, figure in median.items() if who.startswith("sql"))
        reached.append(("times the best SQL", best / best_sql, TIMES_SQL))
    for what, figure, target in reached:
        verdict = "reached" if figure >= target else "NOT REACHED"
        console.print(f"rollup: {figure:,.2f} {what}; target {target:,}: {verdict}", highlight=False)
    figures = {"parallelism": PARALLELISM, "hours": hours, "archives": archives, "median": median, "turns": found}
    result = {"benchmark": "rollup", "machine": describe(), **figures}
    results.publish("rollup", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
