"""The common part of counts by polars: reads all events, writes the result, and prints what it cost."""

import io
import json
import resource
import time
from collections.abc import Callable, Mapping

import polars as pl
import pyarrow.fs

from settings import Settings
from udfs.stores.archive import filesystem


def measure(
    source: str,
    count: Callable[[pl.LazyFrame], Mapping[str, pl.DataFrame]],
    prepared: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
) -> None:
    """Count a folder of Avro files in the object store. `count` returns the frames to write, by Parquet file.

    `prepared` changes the frame of each file after it is read. Prints JSON with the seconds from the first byte read to
    the last one written, and the peak of memory in MiB.
    """
    store = filesystem(Settings().s3)
    began_s = time.monotonic()
    frames = []
    for info in store.get_file_info(pyarrow.fs.FileSelector(source)):
        with store.open_input_stream(info.path) as file:
            frames.append(prepared(pl.read_avro(io.BytesIO(file.read()))))
    for path, frame in count(pl.concat(frames).lazy()).items():
        out = io.BytesIO()
        frame.write_parquet(out)
        with store.open_output_stream(path) as file:
            file.write(out.getvalue())
    seconds = time.monotonic() - began_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_mib": peak_mib}))
