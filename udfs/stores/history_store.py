"""History in the object store: slices, Parquet for analysts, and the manifests that say which files count.

Below the root are:
- manifests/; the register names the manifest in force.
- slices/, with a folder for each slice (udfs.logic.history.manifest.slice_folder). It holds cells.parquet,
  countries.parquet, viewers.parquet, known.parquet (the seen ids), repeats.parquet if ids were repeated by different
  events, memory.bin if the slice is the last of an hour, and slice.json, which is written last.
- a folder for each data set, with files as file_name names them.
- imports/, with a folder for each import (udfs.logic.history.imports).
- parts/, with the shards' parts of files that are not complete yet.
- manifest.json, a copy of the manifest in force for readers of Parquet.
Only that copy is ever overwritten, except by an erasure.
"""

import contextlib
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from udfs.logic.history.manifest import (
    DATA_SETS,
    IMPORTS,
    MANIFEST,
    HistoryError,
    Manifest,
    SliceInfo,
    SliceName,
    day_number,
    no_history,
    read_manifest,
    slice_folder,
    token_in,
)
from udfs.logic.history.manifest_versions import NO_VIEWERS, upgraded_slice
from udfs.logic.history.tables import unknown_countries
from udfs.logic.kernels.hash_columns import TYPE, column_of, halves_of
from udfs.logic.kernels.id_index import Ids
from udfs.logic.slices.id_buckets import buckets_of, in_buckets
from udfs.logic.slices.repeats import SeenIds
from udfs.logic.slices.slice_counts import SaltMemory, SliceCounts
from udfs.logic.slices.viewer_buckets import EVERYTHING, Share
from udfs.stores.conditional_files import ConditionalFiles
from udfs.stores.replaced_file import replace

COMPRESSION = "zstd"
# The rows of a row group of tables. To find one video, one or two groups are read, some tens of kilobytes.
GROUP_ROWS = 16_384
# The files of every slice, and the one that only the last slice of an hour has.
SLICE_FILES = ("slice.json", "cells.parquet", "countries.parquet", "viewers.parquet", "known.parquet")
MEMORY = "memory.bin"
# All folders with files that holders of the lease have written.
FOLDERS = ("manifests", "slices", "parts", *DATA_SETS, IMPORTS)
# The row groups of a slice's file are read one by one, so its footer is kept.
FOOTERS_MAX = 256
# A column of hashes. Like ids, they cannot be made smaller by a dictionary or compression.
SUBJECT = pa.uint64()
KNOWN = pa.schema({"event_id": TYPE, "viewed_at": pa.timestamp("ms", "UTC"), "subject": SUBJECT})
Groups = Sequence[tuple[int, ...]]


class ReadTable(NamedTuple):
    """A file as it was read: the table, (rows,) of each row group, and the file's tag (ConditionalFiles)."""

    table: pa.Table
    groups: Groups
    tag: str


class HistoryStore:
    """The files below `path`, an s3:// URL, in a store."""

    def __init__(self, store: pyarrow.fs.FileSystem, path: str) -> None:
        self._store = store
        self._root = path.removeprefix("s3://")
        self._footer = functools.lru_cache(FOOTERS_MAX)(self._read_footer)

    # --- manifests

    def manifest(self, name: str, shards: int) -> Manifest:
        """Read the manifest of a name; for "" return the empty history before the first. Raises HistoryError."""
        if not name:
            return no_history(shards)
        if not self._exists(name):
            raise HistoryError(
                f"{self._root}/{name} is not there, and the register names it as the manifest of history: type "
                "`python -m tools.ops history restore`"
            )
        found = read_manifest(self._get(name))
        if found.shards != shards:
            raise HistoryError(
                f"{name} was made by counting.shards={found.shards}, and the settings say {shards}, which is fixed: "
                f"set VIEW_COUNTS_COUNTING_SHARDS={found.shards}, or count again from the archive, to another path"
            )
        return found

    def put_manifest(self, name: str, manifest: Manifest) -> None:
        """Write a manifest. It comes into force when the register names it."""
        self._put(name, msgspec.json.encode(manifest))

    def manifest_names(self) -> list[str]:
        """Return the names of all manifests that exist, ordered by token."""
        return [path for path in self._paths("manifests") if path.endswith(".json") and _token(path)]

    def copy(self, manifest: Manifest) -> None:
        """Write this manifest to manifest.json, for readers of Parquet."""
        replace(self._store, f"{self._root}/{MANIFEST}", msgspec.json.encode(manifest))

    def copied(self) -> Manifest | None:
        """Read manifest.json, or return None if there is none yet. Raises HistoryError."""
        return read_manifest(self._get(MANIFEST)) if self._exists(MANIFEST) else None

    def missing_files(self, manifest: Manifest) -> list[str]:
        """Return the paths that a manifest names and that do not exist, of slices the folder or single files."""
        there = {*self._paths(""), *(path.rsplit("/", 1)[0] for path in self._paths("slices"))}
        # Only an hour's last slice has a memory, from which counting continues or begins again.
        remembered = {one.name for of in manifest.counted.values() for one in of if one.next_hour != one.name.hour}
        remembered.update(manifest.last_slices.values())
        named = set(manifest.all_files)
        for name in manifest.all_slices:
            folder = slice_folder(name)
            # Slices of versions before 4, whose names have no token, have other files.
            if folder in there and name.made:
                files = [*SLICE_FILES, MEMORY] if name in remembered else SLICE_FILES
                named.update(f"{folder}/{file}" for file in files)
            else:
                named.add(folder)
        return sorted(named - there)

    # --- slices

    def slice_info(self, name: SliceName) -> SliceInfo | None:
        """Read a slice's slice.json, or return None if it is not written."""
        path = f"{slice_folder(name)}/slice.json"
        if not self._exists(path):
            return None
        return msgspec.convert(upgraded_slice(self._get(path)), SliceInfo, str_keys=True)

    def slices_of(self, token: int, hour: int, partition: int) -> list[SliceInfo]:
        """Return the slices of an hour of a partition that attempts of a lease have written, one of each part."""
        found: dict[int, SliceInfo] = {}
        for path in self._paths(f"slices/arrival_hour={hour}/partition={partition}"):
            if path.endswith("/slice.json") and _token(path) == token:
                info = msgspec.json.decode(self._get(path), type=SliceInfo)
                found.setdefault(info.part, info)
        return [info for _, info in sorted(found.items())]

    def put_slice(self, name: SliceName, counts: SliceCounts, info: Mapping[str, object]) -> SliceInfo:
        """Write a slice's files. `info` has the fields of SliceInfo that do not follow from the counts."""
        groups: dict[str, Groups] = {}
        for part in ("cells", "countries", "viewers"):
            table: pa.Table = getattr(counts.sums, part)
            groups[part] = _groups((table["shard"].to_numpy(), table["hour"].to_numpy()))
            self._put_table(f"{slice_folder(name)}/{part}.parquet", table.drop_columns(["shard", "hour"]), groups[part])
        order, known_groups = in_buckets(counts.known.ids, counts.known.hours)
        self._put_table(f"{slice_folder(name)}/known.parquet", _known_table(counts.known.taken(order)), known_groups)
        if len(counts.samples):
            self.put(f"{slice_folder(name)}/repeats.parquet", counts.samples)
        if counts.memory is not None:
            memory = {salt: tuple(kept) for salt, kept in counts.memory.items()}
            self._put(f"{slice_folder(name)}/{MEMORY}", msgspec.msgpack.encode(memory))
        fields = {
            "partition": name.partition,
            "hour": name.hour,
            "part": name.part,
            "made": name.made,
            **groups,
            "viewer_buckets": counts.sums.viewer_buckets,
            "known": known_groups,
            "late": dict(counts.late),
            "repeats": dict(counts.repeats),
            "tallies": {salt: [tally.values() for tally in of] for salt, of in counts.tallies.items()},
            **info,
        }
        made = msgspec.convert(fields, SliceInfo)
        self._put(f"{slice_folder(name)}/slice.json", msgspec.json.encode(made))
        return made

    def memory(self, name: SliceName) -> dict[int, SaltMemory]:
        """Read the memory of an hour's last slice, with which the next slice begins."""
        found: dict[int, tuple[bytes, list[bytes]]] = msgspec.msgpack.decode(
            self._get(f"{slice_folder(name)}/{MEMORY}"), type=dict[int, tuple[bytes, list[bytes]]]
        )
        return {salt: SaltMemory(*kept) for salt, kept in found.items()}

    def known(self, infos: Iterable[SliceInfo], hour: int, ids: Ids) -> Iterator[SeenIds]:
        """Yield, from each slice, events that count for an hour viewed, at least those with these ids."""
        return self.known_of_hours(infos, (hour,), ids)

    def known_of_hours(self, infos: Iterable[SliceInfo], hours: Collection[int], ids: Ids) -> Iterator[SeenIds]:
        """Do the same as `known` for several hours. Those of one slice come together."""
        # By the number of buckets of an hour: the buckets that have these ids. They are the same for all slices.
        wanted: dict[int, list[int]] = {}
        for info in infos:
            groups: dict[int, list[int]] = {}
            for at, (hour, _) in enumerate(info.known):
                if hour in hours:
                    groups.setdefault(hour, []).append(at)
            for number in set(map(len, groups.values())) - wanted.keys():
                wanted[number] = np.unique(buckets_of(ids, number)).tolist()
            places = [of_hour[bucket] for of_hour in groups.values() for bucket in wanted[len(of_hour)]]
            asked = [at for at in places if info.known[at][1]]
            if asked:
                table = self._row_groups(f"{slice_folder(info.name)}/known.parquet", asked)
                # Slices of earlier versions have no subjects.
                subjects = table["subject"].to_numpy() if "subject" in table.column_names else None
                yield SeenIds(halves_of(table["event_id"]), table["viewed_at"].cast(pa.int64()).to_numpy(), subjects)

    def repeats(self, name: SliceName) -> pa.Table | None:
        """Read the samples of different events that repeat an id in a slice, or return None if there are none."""
        path = f"{slice_folder(name)}/repeats.parquet"
        return self.get(path) if self._exists(path) else None

    def part(self, part: str, info: SliceInfo, shard: int, hours: Collection[int]) -> pa.Table | None:
        """Read a slice's cells or countries (udfs.logic.slices.audience.Sums) for a shard and some hours viewed.

        Return None if there are none. Countries have no `device` if code that did not count devices wrote the slice.
        """
        of_part: list[tuple[int, int, int]] = getattr(info, part)
        groups = [at for at, (of_shard, of_hour, _) in enumerate(of_part) if of_shard == shard and of_hour in hours]
        if not groups:
            return None
        if part == "countries" and info.viewer_buckets == NO_VIEWERS:
            return unknown_countries(self._row_groups(f"{slice_folder(info.name)}/cells.parquet", groups))
        return self._row_groups(f"{slice_folder(info.name)}/{part}.parquet", groups)

    def viewers(
        self, info: SliceInfo, shard: int, hours: Collection[int], share: Share = EVERYTHING
    ) -> pa.Table | None:
        """Read a slice's viewers, in the buckets that the share touches. Return None if there are none."""
        found = info.viewer_groups(shard, hours)
        groups = [place for place, bucket, _ in found if share.touches(bucket, info.viewer_buckets)]
        names = ("video_id", "kind")
        return self._row_groups(f"{slice_folder(info.name)}/viewers.parquet", groups, names) if groups else None

    def viewer_files(self) -> list[str]:
        """Return the paths of the viewers of all slices, even of slices that are not complete."""
        return [path for path in self._paths("slices") if path.endswith("/viewers.parquet")]

    def suspect_files(self) -> list[tuple[int, str]]:
        """Return (day, path) of every file of suspects, even of those that only former manifests name."""
        # Files that are still being written have hidden names.
        paths = [path for path in self._paths("suspects") if "/." not in path]
        days = [path.split("/")[1].removeprefix("viewed_day=") for path in paths]
        return [(day_number(date.fromisoformat(day)), path) for day, path in zip(days, paths, strict=True)]

    def read(self, files: ConditionalFiles, path: str) -> ReadTable:
        """Read a file that may be rewritten later. Raises FileNotFoundError."""
        content, tag = files.read(f"{self._root}/{path}")
        reader = pq.ParquetFile(pa.BufferReader(content))
        footer = reader.metadata
        groups = [(footer.row_group(group).num_rows,) for group in range(footer.num_row_groups)]
        return ReadTable(reader.read(), groups, tag)

    def replace(self, files: ConditionalFiles, path: str, before: ReadTable, table: pa.Table) -> bool:
        """Replace a file's table by one with as many rows, in the same row groups.

        Return False, and write nothing, if the file has changed since it was read.
        """
        content = _encoded(table, before.groups).to_pybytes()
        is_replaced = files.replace(f"{self._root}/{path}", content, before.tag)
        self._footer.cache_clear()
        return is_replaced

    # --- tables

    def put(self, path: str, table: pa.Table) -> None:
        """Write one file."""
        self._put_table(path, table, None)

    def get(self, path: str, only: Sequence[tuple[str, str, object]] | None = None) -> pa.Table:
        """Read one file, or, of its rows, those for which all of `only` hold, as pyarrow has filters."""
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            return pq.read_table(file, filters=None if only is None else list(only))

    def data_files(self) -> list[str]:
        """Return the paths of all files of data sets and imports."""
        return [path for folder in (*DATA_SETS, IMPORTS) for path in self._paths(folder)]

    def newest_token(self) -> int:
        """Return the highest token in the name of any file, or 0 if there is none."""
        return max((_token(path) or 0 for folder in FOLDERS for path in self._paths(folder)), default=0)

    def files_below(self, token: int) -> list[str]:
        """Return the files that holders of lower tokens have written. Files that history does not name are left out."""
        tokens = ((path, _token(path)) for folder in FOLDERS for path in self._paths(folder))
        return [path for path, found in tokens if found is not None and found < token]

    def delete(self, path: str) -> None:
        """Delete one file, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            self._store.delete_file(f"{self._root}/{path}")

    # --- below

    def _put_table(self, path: str, table: pa.Table, groups: Groups | None) -> None:
        self._put(path, _encoded(table, groups))

    def _row_groups(self, path: str, groups: Sequence[int], dictionaries: Sequence[str] = ()) -> pa.Table:
        """Read row groups of a slice's file. `dictionaries` are the columns to keep dictionary-encoded."""
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            reader = pq.ParquetFile(
                file, metadata=self._footer(path), read_dictionary=list(dictionaries), pre_buffer=True
            )
            return reader.read_row_groups(list(groups))

    def _read_footer(self, path: str) -> pq.FileMetaData:
        with self._store.open_input_file(f"{self._root}/{path}") as file:
            return pq.read_metadata(file)

    def _paths(self, folder: str) -> list[str]:
        """Return the paths, below the root, of all files in a folder and its folders, sorted."""
        whole = f"{self._root}/{folder}" if folder else self._root
        selector = pyarrow.fs.FileSelector(whole, recursive=True, allow_not_found=True)
        found = (info.path for info in self._store.get_file_info(selector) if info.type is pyarrow.fs.FileType.File)
        return sorted(path.removeprefix(f"{self._root}/") for path in found)

    def _exists(self, path: str) -> bool:
        return bool(self._store.get_file_info(f"{self._root}/{path}").type is pyarrow.fs.FileType.File)

    def _get(self, path: str) -> bytes:
        with self._store.open_input_stream(f"{self._root}/{path}") as stream:
            return bytes(stream.read())

    def _put(self, path: str, content: bytes | pa.Buffer) -> None:
        whole = f"{self._root}/{path}"
        # In an object store, this would make an object in place of the folder.
        if isinstance(self._store, pyarrow.fs.LocalFileSystem):
            self._store.create_dir(whole.rsplit("/", 1)[0], recursive=True)
        with self._store.open_output_stream(whole) as stream:
            stream.write(content)


def _token(path: str) -> int | None:
    """Return what token_in returns, or None for a file that is not one of history."""
    try:
        return token_in(path)
    except ValueError:
        return None


def _encoded(table: pa.Table, groups: Groups | None) -> pa.Buffer:
    """Encode a Parquet file. Columns of hashes get no dictionary and no compression, which would save nothing."""
    sink = pa.BufferOutputStream()
    codecs = {field.name: "none" if field.type in (TYPE, SUBJECT) else COMPRESSION for field in table.schema}
    names = [name for name, codec in codecs.items() if codec == COMPRESSION]
    statistics: bool = groups is None
    with pq.ParquetWriter(
        sink, table.schema, compression=codecs, use_dictionary=names, write_statistics=statistics
    ) as writer:
        if groups is None:
            writer.write_table(table, row_group_size=GROUP_ROWS)
        else:
            at = 0
            for *_, rows in groups:
                writer.write_table(_compacted(table.slice(at, rows)), row_group_size=max(rows, 1))
                at += rows
    return sink.getvalue()


def _compacted(table: pa.Table) -> pa.Table:
    """Drop what the table's rows do not use from its dictionaries, because Parquet writes whole dictionaries."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(at).combine_chunks()
            indices = column.indices.to_numpy()
            used = np.zeros(len(column.dictionary), bool)
            used[indices] = True
            places = (np.cumsum(used) - 1).astype(np.int32)
            made = pa.DictionaryArray.from_arrays(pa.array(places[indices]), column.dictionary.filter(pa.array(used)))
            table = table.set_column(at, field, made)
    return table


def _groups(keys: Sequence[npt.NDArray[np.signedinteger[Any]]]) -> list[tuple[int, ...]]:
    """Return (*key, rows) of each run of equal keys."""
    if not len(keys[0]):
        return []
    changes = np.zeros(len(keys[0]), bool)
    changes[0] = True
    for key in keys:
        changes[1:] |= np.diff(key) != 0
    starts = np.nonzero(changes)[0]
    rows = np.diff([*starts, len(keys[0])])
    return [(*(int(key[start]) for key in keys), int(n)) for start, n in zip(starts, rows, strict=True)]


def _known_table(known: SeenIds) -> pa.Table:
    times = pa.array(known.viewed_ms).cast(KNOWN.field("viewed_at").type)
    columns = {"event_id": column_of(known.ids), "viewed_at": times}
    if known.subjects is None:
        return pa.table(columns)
    return pa.table({**columns, "subject": pa.array(known.subjects)}, schema=KNOWN)
