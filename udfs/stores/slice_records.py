"""The records of slices of the archive: of one partition and hour of arrival, one slice after the other.

Slices are cut in the order of the offsets: one ends where the first record of a later hour stands. Stamps of records
step back where a partition changes its leader, and such a record lies in the folder of an earlier hour than its
neighbours; it is looked for there when it is missing here. A record whose stamp lies too far ahead to count lies in the
folder of a later hour, and is read with its neighbours.
"""

from collections.abc import Callable, Iterator, Sequence

from udfs.stores.archive import Archive, ArchiveFile, Gap, Record
from udfs.stores.arrival_hours import ArrivalHours, Cut

# How far the time of a record may step back.
STEPS_BACK_HOURS = 24
SETTLED_S = 7200.0


class PartitionSlices:
    """Slices of one partition, of some hours that are closed: those to which no record can be added.

    `hours` in order; `newest_hour` is a later one that has records; `ahead` are folders of hours that have not come.
    """

    def __init__(
        self,
        archive: Archive,
        times: ArrivalHours,
        partition: int,
        hours: Sequence[int],
        newest_hour: int,
        ahead: Sequence[int] = (),
    ) -> None:
        self._archive = archive
        self._times = times
        self._partition = partition
        self._newest_hour = newest_hour
        # Those between as well: files may have come since these hours were found.
        self._files = archive.files([*range(hours[0] - STEPS_BACK_HOURS, newest_hour + 1), *ahead], partition)

    def read(self, hour: int, start: int) -> "SliceRecords":
        """The slices of an hour, of which the first begins at `start`."""
        cut = self._times.cut(self._files, hour)
        return SliceRecords(
            self._archive, self._times, self._partition, self._files, hour, start, cut, self._newest_hour
        )


class SliceRecords:
    """Slice after slice by `next_slice`; after each `next_offset`, `next_hour` and `gaps` say what was read."""

    def __init__(
        self,
        archive: Archive,
        times: ArrivalHours,
        partition: int,
        files: Sequence[ArchiveFile],
        hour: int,
        start: int,
        cut: Cut,
        newest_hour: int,
    ) -> None:
        self._archive = archive
        self._times = times
        self._partition = partition
        self._files = files
        self._hour = hour
        self._end = max(cut.offset, start)
        self._cut = cut
        self._newest_hour = newest_hour
        self._own = [file for file in files if file.hour == hour or self._is_displaced(file, start)]
        own = set(self._own)
        self._others = [file for file in files if file not in own]
        self._records = self._read()
        self.next_offset = start
        self.gaps: list[Gap] = []

    @property
    def next_hour(self) -> int:
        """The hour of the record at `next_offset`."""
        return self._cut.hour if self.next_offset == self._end else self._hour

    def next_slice(self, is_full: Callable[[], bool]) -> Iterator[Record]:
        """The records of the next one: until it is full, which is asked after each, or the hour ends."""
        self.gaps = []
        for record in self._records:
            yield record
            self.next_offset = record.offset + 1
            if is_full():
                return
        self.next_offset = self._end

    def is_settled(self, now_s: float) -> bool:
        """Whether what is missing will not come any more: what follows it has been there for long.

        Files of one checkpoint appear one after the other, and after a failure only when the archive job is back.
        """
        return now_s - self._cut.file.written_s >= SETTLED_S

    def archived(self) -> tuple[int, int]:
        """How many files there were in which what is missing may have been looked for, and their bytes in all."""
        return files_for(self._files, self._hour, self.next_hour, self._newest_hour)

    def _is_displaced(self, file: ArchiveFile, start: int) -> bool:
        """Whether a file of a later hour's folder has records that stand before the end."""
        if file.hour <= self._hour:
            return False
        first, last = self._archive.first_offset(file), self._times.last_offset(file)
        return first is not None and first < self._end and (last is None or last >= start)

    def _read(self) -> Iterator[Record]:
        expected = self.next_offset
        for record in self._archive.read_partition(self._own):
            if record.offset >= self._end:
                break
            if record.offset < expected:
                continue
            if record.offset > expected:
                yield from self._fill(expected, record.offset)
            yield record
            expected = record.offset + 1
        if expected < self._end:
            yield from self._fill(expected, self._end)

    def _fill(self, start: int, end: int) -> Iterator[Record]:
        """What lies in other hours of these offsets; the rest are gaps."""
        expected = start
        for record in self._archive.read_partition(self._others):
            if record.offset >= end:
                break
            if record.offset >= start:
                if record.offset > expected:
                    self.gaps.append(Gap(self._partition, expected, record.offset - 1))
                yield record
                expected = record.offset + 1
        if expected < end:
            self.gaps.append(Gap(self._partition, expected, end - 1))


def may_hold(file: ArchiveFile, hour: int, next_hour: int, newest_hour: int) -> bool:
    """Whether a file of the partition may hold a record of a slice; folders after the newest hour have not come yet."""
    return hour - STEPS_BACK_HOURS <= file.hour <= next_hour or file.hour > newest_hour


def files_for(files: Sequence[ArchiveFile], hour: int, next_hour: int, newest_hour: int) -> tuple[int, int]:
    """The number and the bytes of a partition's files that may hold a record of a slice."""
    sizes = [file.size for file in files if may_hold(file, hour, next_hour, newest_hour)]
    return len(sizes), sum(sizes)
