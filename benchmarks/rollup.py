"""Measures what the rollup costs, compared with Flink SQL and polars: `python -m benchmarks.rollup`.

jobs/archive_events.py archives events, and jobs/rollup.py counts them in one job: slices, then all tables of history,
in Parquet and in Cassandra. For SQL and polars, Avro files in the object store have the fields of the same events that
they need. They count minutes only, and then all tables that need only events: minutes, hours, days, countries by hour
and the viewers of a day, in files. All results are compared row by row: with the truth if it follows from the minutes,
and otherwise with the rollup's result. Rates are events divided by the time from the start to the end of a job or
stage.
"""

import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import typer
from rich.console import Console

from benchmarks.archive import CODECS, HOURS, archive_path, copy, filled_stack
from benchmarks.comparing.rollup_contenders import SQL_DEDUPS, Contenders, newest_job
from benchmarks.inputs.events import Stream, Topic, batches_topic
from benchmarks.inputs.tables import MINUTES_PER_HOUR, Tables, before, by_minute_hour_day, compare, of_history
from benchmarks.measuring import results
from benchmarks.measuring.cpu import PYTHON_WORKERS, cpu_seconds
from benchmarks.measuring.machine import describe
from benchmarks.measuring.worker_peak import peak_of_workers
from schemas.jobs import ROLLUP
from settings import Settings
from tools.history import history_in_force
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from tools.stack.layout import repository
from udfs.logic.history.manifest import DATA_SETS, Manifest
from udfs.stores.archive import filesystem
from udfs.stores.history_store import GROUP_ROWS, HistoryStore

PARALLELISM = 2
BATCH = 2000
TARGET = 1_500_000
TIMES_SQL = 3
SQL_MINUTES = tuple(f"sql-{dedup}" for dedup in SQL_DEDUPS)
SQL_TABLES = "sql-tables"
PARQUET_CODECS = ("none", "snappy", "zstd", "gzip")

console = Console()


class RolledUp(NamedTuple):
    """What a rollup cost, and the tables that it made. Hours before `through_hour` are complete."""

    figures: dict[str, Any]
    tables: Tables
    through_hour: int


def roll_up(stack: Stack, codec: str, topic: Topic, stream: Stream, turn: int) -> RolledUp:
    """Count the archive with a codec into a history of this turn's own."""
    path = f"s3://{S3_BUCKET}/history-{codec}-{turn}"
    # Keyspace and path belong together, so a new history needs new tables.
    pair = {"VIEW_COUNTS_HISTORY_PATH": path, "VIEW_COUNTS_CASSANDRA_KEYSPACE": f"rolled_up_{codec}_{turn}"}
    os.environ.update(pair)
    subprocess.run(
        [sys.executable, "-m", "tools.stack.provision", "tables", "register"],
        env={**stack.process_environment(), **pair}, cwd=repository(), check=True,
    )  # fmt: skip
    cpu_before = cpu_seconds(stack)
    began_s = time.monotonic()
    with peak_of_workers(stack) as peak:
        printed = stack.flink("run", "-p", str(PARALLELISM), "-py", ROLLUP.file, timeout_s=3600, variables=pair)
    command_s = time.monotonic() - began_s
    cpu = {part: spent - cpu_before.get(part, 0.0) for part, spent in cpu_seconds(stack).items()}
    console.print(printed.strip().splitlines()[-1], highlight=False)
    job = newest_job(stack, ROLLUP.name)
    vertices = stack.flink_rest(f"/jobs/{job['jid']}")["vertices"]
    store, settings = filesystem(Settings().s3), Settings()
    history = HistoryStore(store, path)
    manifest = history_in_force(settings, history)
    made = of_history(history, manifest)
    _check(made, manifest.through_hour, stream, topic)
    events = sum(sum(topic.events_by_record[p][:until]) for p, until in manifest.next_offsets.items())
    seconds = job["duration"] / 1000
    figures = {
        "events": events,
        "seconds": seconds,
        "command_s": round(command_s, 1),
        "events_per_s": round(events / seconds),
        "largest_worker_mib": peak.mib,
        "cpu_s_of_parts": {part: round(spent, 1) for part, spent in cpu.items() if part != PYTHON_WORKERS},
        "stages_s": {vertex["name"].split(" -> ")[-1][:40]: round(vertex["duration"] / 1000, 1) for vertex in vertices},
        "minute_rows": len(made["minutes"]),
        "slices_bytes_per_event": round(_size(store, path, "slices") / events, 2),
        "parquet": {name: _bytes_per_row(history, manifest, name) for name in DATA_SETS},
    }
    return RolledUp(figures, before(made, manifest.through_hour), manifest.through_hour)


def _bytes_per_row(history: HistoryStore, manifest: Manifest, data_set: str) -> dict[str, float]:
    """The rows of a data set, and its bytes per row with each of PARQUET_CODECS."""
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


def _check(made: Tables, through_hour: int, stream: Stream, topic: Topic) -> None:
    """Raise DisagreementError if a count differs from that of the generator."""
    minutes = stream.truth(topic.filled)
    complete = {cell: views for cell, views in minutes.items() if cell[2] < through_hour * MINUTES_PER_HOUR}
    compare("the rollup", made, by_minute_hour_day(complete))


def _size(store: pyarrow.fs.FileSystem, path: str, folder: str) -> int:
    selector = pyarrow.fs.FileSelector(f"{path.removeprefix('s3://')}/{folder}", recursive=True)
    return sum(info.size or 0 for info in store.get_file_info(selector))


def verdicts(median: Mapping[str, float]) -> Iterator[str]:
    """A line for each ratio with its target. There is no target for SQL that makes the same tables."""
    best = max(rate for who, rate in median.items() if who.startswith("rollup"))
    reached: list[tuple[str, float, int | None]] = [("events/s", best, TARGET)]
    minutes_alone = [rate for who, rate in median.items() if who in SQL_MINUTES]
    if minutes_alone:
        reached.append(("times the best SQL that counts minutes alone", best / max(minutes_alone), TIMES_SQL))
    if SQL_TABLES in median:
        reached.append(("times SQL that makes the same tables", best / median[SQL_TABLES], None))
    for what, figure, target in reached:
        if target is None:
            told = "no target"
        else:
            told = f"target {target:,}: {'reached' if figure >= target else 'NOT REACHED'}"
        yield f"rollup: {figure:,.2f} {what}; {told}"


def main(
    *,
    events: Annotated[int, typer.Option(help="How many events to archive and count.", min=1_000_000)] = 24_000_000,
    hours: Annotated[int, typer.Option(help="Over how many hours of arrival to spread them.", min=1)] = HOURS,
    codecs: Annotated[str, typer.Option(help="The codecs of the archive, separated by commas.")] = CODECS[0],
    turns: Annotated[int, typer.Option(help="How often each contender runs.", min=1)] = 2,
    others: Annotated[bool, typer.Option(help="Also count by Flink SQL and polars.")] = True,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Archive events, count them by all contenders, and print rates and targets."""
    topic, contenders = batches_topic("rolled-up", events, BATCH), Contenders(events, BATCH, PARALLELISM)
    found: dict[str, list[dict[str, Any]]] = {}

    def add(who: str, figures: dict[str, Any]) -> None:
        found.setdefault(who, []).append(figures)
        console.print(f"{who}: {figures}", highlight=False)

    with filled_stack(topic, *(contenders.topics if others else ()), hours=hours) as (stack, stream):
        if others:
            contenders.write_files(stack)
        archives = {codec: copy(stack, codec, topic) for codec in codecs.split(",")}
        # Contenders run in turns, because the first run on a new JVM waits for its compiler.
        for turn in range(turns):
            for codec in archives:
                os.environ["VIEW_COUNTS_ARCHIVE_PATH"] = archive_path(codec)
                rolled_up = roll_up(stack, codec, topic, stream, turn)
                add(f"rollup-{codec}", rolled_up.figures)
            if others:
                for dedup in SQL_DEDUPS:
                    add(f"sql-{dedup}", contenders.sql(stack, stream, dedup, turn))
                figures, by_sql = contenders.sql_tables(stack, stream, turn)
                add(SQL_TABLES, figures)
                add("polars", contenders.polars(stream))
                figures, by_polars = contenders.polars_tables(stream)
                add("polars-tables", figures)
                compare("Flink SQL", before(by_sql, rolled_up.through_hour), rolled_up.tables)
                compare("polars", by_polars, by_sql)
    console.print({"archives": archives}, highlight=False)
    median = {who: statistics.median(turn["events_per_s"] for turn in of) for who, of in found.items()}
    console.print(median, highlight=False)
    for verdict in verdicts(median):
        console.print(verdict, highlight=False)
    figures = {"parallelism": PARALLELISM, "hours": hours, "archives": archives, "median": median, "turns": found}
    result = {"benchmark": "rollup", "machine": describe(), **figures}
    results.publish("rollup", result, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
