"""Reads history for queries: a manifest, and the rows of one video in a file.

Calls block, and are safe from many threads. It imports nothing that is compiled, so that a service can use it.
udfs.stores.history_store writes history.
"""

import functools
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from udfs.logic.history.manifest import Manifest, read_manifest

# The column of time of each data set.
TIMES = {"minutes": "minute", "hours": "hour"}
FOOTERS_MAX = 1024


class _Footer(NamedTuple):
    """A file's footer; `ranges` are the first and the last video of each row group, or None if it does not say."""

    metadata: pq.FileMetaData
    ranges: list[tuple[str, str] | None]

    def groups(self, video_id: str) -> list[int]:
        """Return the row groups that can hold a video."""
        return [at for at, of in enumerate(self.ranges) if of is None or of[0] <= video_id <= of[1]]


class HistoryFiles:
    """The files below `path`, an s3:// URL, in a store. Every call raises OSError when the store does not answer."""

    def __init__(self, store: pyarrow.fs.FileSystem, path: str) -> None:
        self._store = store
        self._root = path.removeprefix("s3://")
        # Files are never changed, so their footers can be kept.
        self._footer = functools.lru_cache(FOOTERS_MAX)(self._read_footer)

    def manifest(self, name: str) -> Manifest:
        """Read the manifest of this name, which is a path below the root, as in the register.

        Raises HistoryError when this code cannot read it, and FileNotFoundError.
        """
        with self._store.open_input_stream(f"{self._root}/{name}") as stream:
            return read_manifest(stream.read())

    def rows(self, path: str, data_set: str, video_id: str, kind: str) -> list[tuple[int, int]]:
        """Return (time in ms since 1970, views) of a video and kind in a file of minutes or hours.

        It only reads the row groups that can hold the video. Raises FileNotFoundError if the file has been deleted,
        which does not happen to files of the manifest in force and of a few manifests before it.
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
