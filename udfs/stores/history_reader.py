"""Reads history for queries: a manifest, and the rows of one video or channel in a file.

Calls block, and are safe from many threads. It imports nothing that is compiled, so that a service can use it.
udfs.stores.history_store writes history.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from udfs.logic.history.manifest import Manifest, read_manifest

# The column of time of each data set.
TIMES = {"minutes": "minute", "hours": "hour"}
FOOTERS_MAX = 1024


class _Footer(NamedTuple):
    """A file's footer; `ranges` are the first and the last subject of each row group, or None if it does not say.

    The subject is the first column, by which rows are sorted: a video or a channel.
    """

    metadata: pq.FileMetaData
    ranges: list[tuple[str, str] | None]

    def groups(self, subject: str) -> list[int]:
        """Return the row groups that can hold a subject."""
        return [at for at, of in enumerate(self.ranges) if of is None or of[0] <= subject <= of[1]]


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
        time = TIMES[data_set]
        table = self.table(path, video_id, kind, [time, "views"])
        return list(zip(table[time].cast("int64").to_pylist(), table["views"].to_pylist(), strict=True))

    def table(self, path: str, subject: str, kind: str, columns: Sequence[str]) -> pa.Table:
        """Return these columns of the rows of a subject and kind. The subject is what the first column of the file has.

        Raises as `rows`.
        """
        footer = self._footer(path)
        name = footer.metadata.schema.names[0]
        groups = footer.groups(subject)
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            reader = pq.ParquetFile(file, metadata=footer.metadata, pre_buffer=True)
            if not groups:
                return reader.schema_arrow.empty_table().select(columns)
            table = reader.read_row_groups(groups, [name, "kind", *columns], use_threads=False)
        return table.filter((pc.field(name) == subject) & (pc.field("kind") == kind)).select(columns)

    def _read_footer(self, path: str) -> _Footer:
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            metadata = pq.read_metadata(file)
        ranges = []
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(0).statistics
            ranges.append((found.min, found.max) if found is not None and found.has_min_max else None)
        return _Footer(metadata, ranges)
