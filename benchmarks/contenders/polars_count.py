"""Counts minutes by polars, in one process without Flink: `python -m benchmarks.contenders.polars_count IN OUT`.

It reads a folder of Avro files of plain events in the object store into memory, counts each event id once by video,
kind and minute, and writes one Parquet file.
"""

import sys

import polars as pl

from benchmarks.contenders.polars_files import measure
from settings.durations import MINUTE_MS


def minutes(events: pl.LazyFrame) -> pl.DataFrame:
    """Views by video, kind and minute, sorted by video."""
    return (
        events.unique("event_id")
        .group_by("video_id", "kind", (pl.col("viewed_at") // MINUTE_MS).alias("at_minute"))
        .agg(pl.len().cast(pl.Int64).alias("views"))
        .sort("video_id")
        .collect()
    )


def main(source: str, target: str) -> None:
    """Count the events in `source`, and write the result to `target`."""
    measure(source, lambda events: {target: minutes(events)})


if __name__ == "__main__":
    main(*sys.argv[1:])
