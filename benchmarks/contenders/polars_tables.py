"""Counts five tables of history by polars, in one process: `python -m benchmarks.contenders.polars_tables IN OUT`.

It reads a folder of Avro files of events with viewers in the object store into memory, removes repeated ids once for
all tables, and writes a Parquet file of each table into the folder OUT.
"""

import sys

import polars as pl

from benchmarks.contenders.polars_files import measure
from settings.durations import HOUR_MS, MINUTE_MS

OF = ("video_id", "kind")
# These columns become categories, which polars stores as numbers: they are faster and smaller than texts.
NAMES = ("video_id", "kind", "viewer_id", "country")


def tables(events: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Each table, sorted by video. If they are collected together, their common parts are computed once."""
    # The cache is explicit. Otherwise the optimiser selects each table's columns before this step, and computes it
    # three times.
    once = events.unique("event_id").cache()
    minutes = once.group_by(*OF, (pl.col("viewed_at") // MINUTE_MS).alias("at_minute")).agg(_rows()).cache()
    hours = minutes.group_by(*OF, (pl.col("at_minute") // 60).alias("at_hour")).agg(pl.col("views").sum()).cache()
    days = hours.group_by(*OF, (pl.col("at_hour") // 24).alias("at_day")).agg(pl.col("views").sum())
    at_hour = (pl.col("viewed_at") // HOUR_MS).alias("at_hour")
    countries = once.group_by(*OF, pl.col("country").fill_null(""), at_hour).agg(_rows())
    viewers = (
        once.filter(pl.col("viewer_id").is_not_null())
        .select(*OF, (pl.col("viewed_at") // (24 * HOUR_MS)).alias("at_day"), "viewer_id")
        .unique()
        .group_by(*OF, "at_day")
        .agg(pl.len().cast(pl.Int64).alias("viewers"))
    )
    made = {"minutes": minutes, "hours": hours, "days": days, "countries": countries, "viewers": viewers}
    return {name: frame.sort("video_id") for name, frame in made.items()}


def _rows() -> pl.Expr:
    return pl.len().cast(pl.Int64).alias("views")


def main(source: str, target: str) -> None:
    """Count the events in `source`, and write each table to the folder `target`."""

    def collected(events: pl.LazyFrame) -> dict[str, pl.DataFrame]:
        made = tables(events)
        paths = (f"{target}/{name}.parquet" for name in made)
        return dict(zip(paths, pl.collect_all(made.values()), strict=True))

    measure(source, collected, lambda frame: frame.with_columns(pl.col(NAMES).cast(pl.Categorical)))


if __name__ == "__main__":
    main(*sys.argv[1:])
