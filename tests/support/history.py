"""History as a rollup leaves it, written from counts. Knows the store's and the tables' code, and no Flink."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec
import pyarrow as pa

from settings.durations import HOUR_MS
from udfs.logic.history import tables as history_tables
from udfs.logic.history.manifest import Manifest, file_name, no_history
from udfs.logic.kernels.shards import shard_of
from udfs.stores.history_store import HistoryStore

# (video, kind, minute since 1970) to views.
Counts = Mapping[tuple[str, str, int], int]
CELLS = pa.schema(
    {
        "video_id": pa.string(),
        "kind": pa.string(),
        "minute": pa.int64(),
        "views": pa.int64(),
        "late_added": pa.int64(),
    }
)


def write_history(store: HistoryStore, counts: Counts, *, shards: int, from_hour: int, through_hour: int) -> Manifest:
    """Files of minutes and hours, and the manifest that names them, which is not written (see put_manifest)."""
    cells = defaultdict(list)
    for (video, kind, minute), views in counts.items():
        cells[minute // 60, shard_of(video, shards)].append((video, kind, minute, views, 0))
    manifest = msgspec.structs.replace(no_history(shards), run=1, from_hour=from_hour, through_hour=through_hour)
    for (hour, shard), rows in cells.items():
        columns = dict(zip(CELLS.names, map(list, zip(*rows, strict=True)), strict=True))
        minutes = history_tables.minutes([pa.table(columns, schema=CELLS)])
        for data_set, table in (("minutes", minutes), ("hours", history_tables.hour(minutes, hour * HOUR_MS))):
            path = file_name(data_set, hour, shard, "1-test")
            store.put(path, table)
            manifest.files[data_set].setdefault(hour, {})[shard] = path
    return manifest
