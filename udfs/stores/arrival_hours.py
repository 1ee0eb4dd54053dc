"""Finds the hours in which the records of archived files arrived, by append time and not by the file's folder.

A folder's hour is that of the broker's record timestamps. A record's hour of arrival is never later. It is earlier if
the timestamp lies too far ahead to count (udfs.logic.stream.time_rules). So a file in a folder of next year ends no
hour, and its records belong to the hour in which they arrived.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import NamedTuple

from settings import Settings
from settings.durations import HOUR_MS
from udfs.logic.stream.arrival import arrived_ms
from udfs.stores.archive import FIRST_RECORD_BYTES, Archive, ArchiveFile, Record


class FileHours(NamedTuple):
    """The hours of a file: (offset, hour) of each record whose hour is later than those of all records before it.

    `last_offset` is that of the last record. It is None if the file was only read up to a record of the folder's own
    hour, because no later record can have a later hour.
    """

    steps: list[tuple[int, int]]
    last_offset: int | None


class Cut(NamedTuple):
    """Where a slice ends: the first record of a later hour, that hour, and the file that it is in."""

    offset: int
    hour: int
    file: ArchiveFile


class PartitionHours(NamedTuple):
    """The hours of arrival of a partition's files, and the folders whose own hour has not come yet."""

    hours: set[int]
    ahead: list[int]


def when_arrived(settings: Settings, partition: int, record: Record) -> int | None:
    """Return the append time of a record in ms, by the rules of the stream. None if it has none."""
    return arrived_ms(
        record.key, record.value, record.record_ms, partition=partition, partitions=settings.kafka.partitions,
        rules=settings.counting,
    )  # fmt: skip


class ArrivalHours:
    """Reads each file once. `when` returns the append time in ms of a record of a partition, or None if it has none."""

    def __init__(self, archive: Archive, when: Callable[[int, Record], int | None]) -> None:
        self._archive = archive
        self._when = when
        self._of_file: dict[str, FileHours] = {}

    @classmethod
    def of(cls, archive: Archive, settings: Settings) -> "ArrivalHours":
        """Return one that goes by the rules of the stream."""
        return cls(archive, partial(when_arrived, settings))

    def of_file(self, file: ArchiveFile) -> FileHours:
        """Return the hours of a file. It is read up to a record of the folder's own hour, which is mostly the first."""
        if file.path not in self._of_file:
            self._of_file[file.path] = self._read(file)
        return self._of_file[file.path]

    def last_offset(self, file: ArchiveFile) -> int | None:
        """Return the offset of the last record if the file had to be read to its end, otherwise None."""
        found = self._of_file.get(file.path)
        return None if found is None else found.last_offset

    def of_partition(self, files: Iterable[ArchiveFile], counted: int | None) -> PartitionHours:
        """Return the hours of a partition's files. Hours up to `counted` have been counted already.

        It reads folders from the last one backwards, up to one with a record of its own hour. Earlier folders need not
        be read.
        """
        by_folder: dict[int, list[ArchiveFile]] = defaultdict(list)
        for file in files:
            by_folder[file.hour].append(file)
        found: set[int] = set()
        ahead: list[int] = []
        newest = -1 if counted is None else counted
        for folder in sorted(by_folder, reverse=True):
            if folder <= newest:
                break
            of_folder = self._hours_in(folder, by_folder[folder])
            if folder not in of_folder:
                ahead.append(folder)
            found |= of_folder
            newest = max([newest, *of_folder])
        return PartitionHours({folder for folder in by_folder if folder <= newest} | found, sorted(ahead))

    def cut(self, files: Collection[ArchiveFile], hour: int) -> Cut:
        """Find the first record of a later hour in the files of one partition. Raises ValueError if there is none."""
        firsts = ((self._archive.first_offset(file), file) for file in files if file.hour > hour)
        best: Cut | None = None
        for first, file in sorted((first, file) for first, file in firsts if first is not None):
            if best is not None and first >= best.offset:
                break
            later = next((Cut(offset, at, file) for offset, at in self.of_file(file).steps if at > hour), None)
            if later is not None and (best is None or later.offset < best.offset):
                best = later
        if best is None:
            raise ValueError(
                f"no record of a later hour than {hour}: the archive has lost files since they were listed"
            )
        return best

    def _hours_in(self, folder: int, files: Iterable[ArchiveFile]) -> set[int]:
        found: set[int] = set()
        for file in files:
            found.update(hour for _, hour in self.of_file(file).steps)
            if folder in found:
                break
        return found

    def _read(self, file: ArchiveFile) -> FileHours:
        steps: list[tuple[int, int]] = []
        last = None
        for record in self._archive.read(file, FIRST_RECORD_BYTES):
            last = record.offset
            at_ms = self._when(file.partition, record)
            if at_ms is None or (steps and at_ms // HOUR_MS <= steps[-1][1]):
                continue
            steps.append((record.offset, at_ms // HOUR_MS))
            if steps[-1][1] >= file.hour:
                return FileHours(steps, None)
        return FileHours(steps, last)
