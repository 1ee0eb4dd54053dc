"""History in the object store as who asks for one video reads it: a manifest, and that video's rows of a file.

Blocks; safe to use from many threads. Imports nothing compiled, so that a service can use it: udfs.stores.history_store
is what writes.
"""

import functools
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from udfs.logic.history.manifest import Manifest, read_manifest

# Columns that say when, by data set.
TIMES = {"minutes": "minute", "hours": "hour"}
FOOTERS_MAX = 1024


class _Footer(NamedTuple):
    """What a file says of itself; `ranges`: the first and last video of each row group, None where that is not said."""

    metadata: pq.FileMetaData
    ranges: list[tuple[str, str] | None]

    def groups(self, video_id: str) -> list[int]:
        """The row groups that can hold a video."""
        return [at for at, of in enumerate(self.ranges) if of is None or of[0] <= video_id <= of[1]]


class HistoryFiles:
    """The files below `path`, an s3:// URL, in a store. Every call raises OSError when the store does not answer."""

    def __init__(self, store: pyarrow.fs.FileSystem, path: str) -> None:
        self._store = store
        self._root = path.removeprefix("s3://")
        # Files are never changed, so that what is known of one stays true.
        self._footer = functools.lru_cache(FOOTERS_MAX)(self._read_footer)

    def manifest(self, name: str) -> Manifest:
        """The one of this name, a path below the root, as the register has it.

        Raises HistoryError when this code cannot read it, and FileNotFoundError.
        """
        with self._store.open_input_stream(f"{self._root}/{name}") as stream:
            return read_manifest(stream.read())

    def rows(self, path: str, data_set: str, video_id: str, kind: str) -> list[tuple[int, int]]:
        """(time in ms since 1970, views) of a video and kind in a file of minutes or hours.

        Reads the row groups that can hold the video, and no others. Raises FileNotFoundError when the
        file has gone, which those of a manifest in force, and of a few before it, do not.
        """
        footer = self._footer(path)
        groups = footer.groups(video_id)
        if not groups:
            return []
        time = TIMES[data_set]
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            reader = pq.ParquetFile(file, metadata=footer.metadata, pre_buffer=True)
            table = reader.read_row_groups(groups, ["video_id", "kind", time, "views"], use_threads=False)
        table = table.filter((pc.field("video_id") == video_id) & (pc.field("kind") == kind))
        return list(zip(table[time].cast("int64").to_pylist(), table["views"].to_pylist(), strict=True))

    def _read_footer(self, path: str) -> _Footer:
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            metadata = pq.read_metadata(file)
        column = metadata.schema.names.index("video_id")
        ranges = []
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(column).statistics
            ranges.append((found.min, found.max) if found is not None and found.has_min_max else None)
        return _Footer(metadata, ranges)
