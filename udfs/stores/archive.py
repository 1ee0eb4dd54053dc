"""Reads the archive of the events topic in the object store: its files and their records.

Files are at <path>/arrival_day=2026-01-31/arrival_hour=23/kafka_partition=3/, with names by Flink. A file that is
listed is complete. The hour is that of the record's timestamp, in UTC. A record may be in two files. It is the same in
both, unless only one of them has been rewritten by an erasure so far (udfs.logic.erasure.erasures).
"""

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import NamedTuple

import fastavro
import pyarrow.fs

from settings import S3Settings
from udfs.logic.history.manifest import date_of, day_number
from udfs.logic.wire.container_file import Row, replaced

# The bytes of one request to the store. fastavro reads a byte, then some kilobytes, and each would be a request. Large
# requests also cost the store less for each byte.
READ_BYTES = 8 << 20
FIRST_RECORD_BYTES = 1 << 16


class ArchiveError(ValueError):
    """A file of the archive cannot be read, or is not as the archive job writes it. The text names the file."""


class Record(NamedTuple):
    """A record of the events topic; `record_ms` is the record's timestamp in ms since 1970."""

    offset: int
    record_ms: int
    key: bytes | None
    value: bytes | None


class ArchiveFile(NamedTuple):
    """One file; `hour` is in hours since 1970, `written_s`, when it was written, in seconds since 1970."""

    hour: int
    partition: int
    path: str
    size: int
    written_s: float


class Gap(NamedTuple):
    """Offsets of a partition, `first` to `last`, that no file holds."""

    partition: int
    first: int
    last: int


def filesystem(s3: S3Settings, timeout_s: float | None = None) -> pyarrow.fs.FileSystem:
    """Return the object store. Its paths are bucket and key, without s3://.

    `timeout_s` is for connections and for answers; None leaves it to the library.
    """
    return pyarrow.fs.S3FileSystem(
        region=s3.region,
        access_key=s3.access_key,
        secret_key=None if s3.secret_key is None else s3.secret_key.get_secret_value(),
        endpoint_override=s3.endpoint,
        connect_timeout=timeout_s,
        request_timeout=timeout_s,
    )


class Archive:
    """The files below `path`, an s3:// URL, in a store."""

    def __init__(self, store: pyarrow.fs.FileSystem, path: str) -> None:
        self._store = store
        self._root = path.removeprefix("s3://")
        self._first_offsets: dict[str, int | None] = {}

    def files(self, hours: Iterable[int] | None = None, partition: int | None = None) -> list[ArchiveFile]:
        """Return the files of these hours and of this partition, sorted. None stands for all."""
        below = "" if partition is None else f"/kafka_partition={partition}"
        folders = [self._root] if hours is None else [f"{self._root}/{_folder(hour)}{below}" for hour in hours]
        found = []
        for folder in folders:
            selector = pyarrow.fs.FileSelector(folder, recursive=True, allow_not_found=True)
            for info in self._store.get_file_info(selector):
                # Flink's own files have hidden names.
                if info.type is pyarrow.fs.FileType.File and not info.base_name.startswith((".", "_")):
                    hour, partition = _read_folder(info.path)
                    found.append(ArchiveFile(hour, partition, info.path, info.size, info.mtime_ns / 1e9))
        return sorted(found)

    def read(self, file: ArchiveFile, request_bytes: int = READ_BYTES) -> Iterator[Record]:
        """Yield the records of a file, in the order in which they were written."""
        with self._store.open_input_stream(file.path, buffer_size=request_bytes) as stream:
            rows: Iterator[Row] = fastavro.reader(stream)  # type: ignore[assignment]
            for row in rows:
                yield _record(row)

    def read_partition(self, files: Iterable[ArchiveFile]) -> Iterator[Record]:
        """Yield the records of files of one partition, each once, by offset. A file is opened when it is needed.

        Raises ArchiveError when a file is not in the order of its offsets.
        """
        firsts = ((self.first_offset(file), file) for file in files)
        waiting = sorted(((first, file) for first, file in firsts if first is not None), reverse=True)
        # The next record of each open file; the number keeps records from being compared.
        heap: list[tuple[int, int, Record, Iterator[Record], ArchiveFile]] = []
        opened = 0
        last = -1
        while waiting or heap:
            while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
                _, file = waiting.pop()
                records = self.read(file)
                record = next(records)
                heapq.heappush(heap, (record.offset, opened, record, records, file))
                opened += 1
            offset, number, record, records, file = heap[0]
            following = next(records, None)
            if following is None:
                heapq.heappop(heap)
            elif following.offset <= offset:
                raise ArchiveError(f"{file.path}: offset {following.offset} comes after {offset}")
            else:
                heapq.heapreplace(heap, (following.offset, number, following, records, file))
            if offset > last:
                last = offset
                yield record

    def first_offset(self, file: ArchiveFile) -> int | None:
        """Return the offset of the first record, or None if there is none. Each file is only read once."""
        if file.path not in self._first_offsets:
            first = next(self.read(file, FIRST_RECORD_BYTES), None)
            self._first_offsets[file.path] = None if first is None else first.offset
        return self._first_offsets[file.path]


def rewritten(path: str, content: bytes, change: Callable[[Record], Record | None]) -> bytes | None:
    """Call `change` for each record of a file, in order, and return the file's content with the records that it gives.

    `change` returns None for a record that stays. If all stay, the result is None. Raises ArchiveError if the file is
    not complete.
    """

    def changed(row: Row) -> Row | None:
        record = change(_record(row))
        return None if record is None else row | {"record_key": record.key, "record_value": record.value}

    try:
        return replaced(content, changed)
    except (EOFError, ValueError, zlib.error) as error:
        raise ArchiveError(f"{path} cannot be read: {error}; restore it") from error


def _record(row: Row) -> Record:
    return Record(row["kafka_offset"], row["record_ms"], row["record_key"], row["record_value"])


def _folder(hour: int) -> str:
    day, of_day = divmod(hour, 24)
    return f"arrival_day={date_of(day):%Y-%m-%d}/arrival_hour={of_day:02}"


def _read_folder(path: str) -> tuple[int, int]:
    """Return (hour since 1970, partition) from a file's path."""
    values = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
    day = day_number(date.fromisoformat(values["arrival_day"]))
    return day * 24 + int(values["arrival_hour"]), int(values["kafka_partition"])
