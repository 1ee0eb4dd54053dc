"""The same recount by polars, in one process without Flink: `python -m benchmarks.contenders.polars_count IN OUT`.

Reads a folder of Avro files of plain events in the object store, all at once, counts each event id once by video, kind
and minute, and writes one Parquet file. Prints seconds, from the first byte read to the last one written, and MiB.
"""

import io
import json
import resource
import sys
import time

import polars as pl
import pyarrow.fs

from settings import Settings
from udfs.sources.archive import filesystem

MINUTE_MS = 60_000


def main(source: str, target: str) -> None:
    """Count."""
    store = filesystem(Settings().s3)
    began_s = time.monotonic()
    files = store.get_file_info(pyarrow.fs.FileSelector(source))
    frames = []
    for info in files:
        with store.open_input_stream(info.path) as file:
            frames.append(pl.read_avro(io.BytesIO(file.read())))
    minutes = (
        pl.concat(frames)
        .lazy()
        .unique("event_id")
        .group_by("video_id", "kind", (pl.col("viewed_at") // MINUTE_MS).alias("at_minute"))
        .agg(pl.len().cast(pl.Int64).alias("views"))
        .sort("video_id")
        .collect()
    )
    with store.open_output_stream(target) as file:
        file.write(_parquet(minutes))
    seconds = time.monotonic() - began_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_mib": peak_mib}))


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:])
