"""Runs the rollup's contenders, Flink SQL and polars, and compares what they count with the truth."""

import io
import json
import subprocess
import sys
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from benchmarks.comparing.lineup import JOBS
from benchmarks.inputs.columns import COLUMNS
from benchmarks.inputs.encoding import PLAIN_EVENT, VIEWER_EVENT
from benchmarks.inputs.events import Stream, Topic, plain_batches_topic, viewer_batches_topic
from benchmarks.inputs.plain_files import write_plain_files
from benchmarks.inputs.tables import Counts, Tables, by_minute_hour_day, compare, counts_of
from settings import Settings
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from udfs.stores.archive import filesystem

# The ways in which SQL counts each id once (benchmarks/contenders/sql_batch_job.py).
SQL_DEDUPS = ("distinct", "count-distinct")
PLAIN = f"{S3_BUCKET}/plain-events"
VIEWERS = f"{S3_BUCKET}/viewer-events"

Figures = dict[str, Any]


def newest_job(stack: Stack, name: str) -> dict[str, Any]:
    """Flink's overview of the last job whose name begins with `name`."""
    jobs = (stack.flink_rest("/jobs/overview") or {"jobs": []})["jobs"]
    return max((one for one in jobs if one["name"].startswith(name)), key=lambda one: one["start-time"])


class Contenders:
    """The contenders, which count as many events as the rollup.

    Those that count only minutes read files that have only the fields for that.
    """

    def __init__(self, events: int, events_per_batch: int, parallelism: int) -> None:
        self._plain = plain_batches_topic("plain", events, events_per_batch)
        self._viewers = viewer_batches_topic("viewers", events, events_per_batch)
        self._parallelism = parallelism

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that must be filled first."""
        return self._plain, self._viewers

    def write_files(self, stack: Stack) -> None:
        """Write the events of the topics to files in the object store."""
        servers, store = stack.endpoints["kafka"], filesystem(Settings().s3)
        write_plain_files(servers, self._plain, PLAIN_EVENT, store, PLAIN)
        write_plain_files(servers, self._viewers, VIEWER_EVENT, store, VIEWERS)

    def sql(self, stack: Stack, stream: Stream, dedup: str, turn: int) -> Figures:
        """Count minutes by Flink SQL in batch mode. Raises DisagreementError if they are wrong."""
        minutes = f"{S3_BUCKET}/sql-{dedup}-{turn}"
        arguments = ["--events", f"s3://{PLAIN}", "--minutes", f"s3://{minutes}", "--dedup", dedup]
        figures = self._run_sql(stack, "sql_batch_job.py", arguments)
        _check("Flink SQL", {"minutes": _of_avro("minutes", minutes)}, stream, self._plain)
        return figures

    def sql_tables(self, stack: Stack, stream: Stream, turn: int) -> tuple[Figures, Tables]:
        """Count all tables by Flink SQL in batch mode. Returns figures, and the tables that the truth does not have."""
        folder = f"{S3_BUCKET}/sql-tables-{turn}"
        arguments = ["--events", f"s3://{VIEWERS}", "--tables", f"s3://{folder}"]
        figures = self._run_sql(stack, "sql_tables_job.py", arguments)
        found = {name: _of_avro(name, f"{folder}/{name}") for name in COLUMNS}
        return figures, _check("Flink SQL", found, stream, self._viewers)

    def polars(self, stream: Stream) -> Figures:
        """Count minutes by polars in a process of its own. Raises DisagreementError if they are wrong."""
        target = f"{S3_BUCKET}/polars.parquet"
        figures = self._run_polars("polars_count", PLAIN, target)
        _check("polars", {"minutes": _of_parquet("minutes", target)}, stream, self._plain)
        return figures

    def polars_tables(self, stream: Stream) -> tuple[Figures, Tables]:
        """Count all tables by polars in a process of its own. Returns as `sql_tables`."""
        folder = f"{S3_BUCKET}/polars-tables"
        figures = self._run_polars("polars_tables", VIEWERS, folder)
        found = {name: _of_parquet(name, f"{folder}/{name}.parquet") for name in COLUMNS}
        return figures, _check("polars", found, stream, self._viewers)

    def _run_sql(self, stack: Stack, script: str, arguments: list[str]) -> Figures:
        stack.flink("run", "-p", str(self._parallelism), "-py", f"{JOBS}/{script}", *arguments, timeout_s=3600)
        seconds = newest_job(stack, "insert-into")["duration"] / 1000
        return {"seconds": seconds, "events_per_s": round(self._plain.filled / seconds)}

    def _run_polars(self, module: str, source: str, target: str) -> Figures:
        command = [sys.executable, "-m", f"benchmarks.contenders.{module}", source, target]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return {**figures, "events_per_s": round(self._plain.filled / figures["seconds"])}


def _check(who: str, found: Tables, stream: Stream, topic: Topic) -> Tables:
    """Raise DisagreementError if a table differs from the truth. Returns the tables that the truth does not have."""
    truth = by_minute_hour_day(stream.truth(topic.filled))
    compare(who, found, {name: counts for name, counts in truth.items() if name in found})
    return {name: counts for name, counts in found.items() if name not in truth}


def _of_avro(name: str, folder: str) -> Counts:
    store = filesystem(Settings().s3)
    rows: list[Any] = []
    for info in store.get_file_info(pyarrow.fs.FileSelector(folder, recursive=True)):
        if info.type is pyarrow.fs.FileType.File:
            with store.open_input_stream(info.path) as file:
                rows += fastavro.reader(io.BytesIO(file.read()))
    return counts_of(name, pa.Table.from_pylist(rows))


def _of_parquet(name: str, path: str) -> Counts:
    with filesystem(Settings().s3).open_input_file(path) as file:
        return counts_of(name, pq.read_table(file))
