"""Reads the records of slices from the archive: one slice after another, of one partition and hour of arrival.

Slices are cut by offset: a slice ends at the latest before the first record of a later hour. Record timestamps may step
back when a partition gets another leader. Such a record lies in the folder of an earlier hour than its neighbours, and
is looked for there if it is missing. A record whose timestamp lies too far ahead to count lies in the folder of a later
hour, and is read with its neighbours.
"""

from collections.abc import Callable, Iterator, Sequence

from udfs.stores.archive import Archive, ArchiveFile, Gap, Record
from udfs.stores.arrival_hours import ArrivalHours, Cut

# A record's timestamp may step back so far.
STEPS_BACK_HOURS = 24
SETTLED_S = 7200.0


class PartitionSlices:
    """Slices of one partition, for some ended hours of arrival, to which no record can be added.

    `hours` are sorted, `newest_hour` is a later hour with records, `ahead` are folders of hours that have not come.
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
        # The hours between are listed as well: they may have got files since these hours were found.
        self._files = archive.files([*range(hours[0] - STEPS_BACK_HOURS, newest_hour + 1), *ahead], partition)

    def read(self, hour: int, start: int) -> "SliceRecords":
        """Return the slices of an hour. The first one begins at the offset `start`."""
        cut = self._times.cut(self._files, hour)
        return SliceRecords(
            self._archive, self._times, self._partition, self._files, hour, start, cut, self._newest_hour
        )


class SliceRecords:
    """Reads one slice after another. After each, `next_offset`, `next_hour` and `gaps` say what was read."""

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
        """Yield the records of the next slice, until `is_full` returns True after a record, or the hour ends."""
        self.gaps = []
        for record in self._records:
            yield record
            self.next_offset = record.offset + 1
            if is_full():
                return
        self.next_offset = self._end

    def is_settled(self, now_s: float) -> bool:
        """Return whether missing records will not come any more, because what follows them was archived long ago.

        Files of one checkpoint appear one after another, and after a failure only when the archive job runs again.
        """
        return now_s - self._cut.file.written_s >= SETTLED_S

    def archived(self) -> tuple[int, int]:
        """Return the number and the bytes of the files in which missing records may be."""
        return files_for(self._files, self._hour, self.next_hour, self._newest_hour)

    def _is_displaced(self, file: ArchiveFile, start: int) -> bool:
        """Return whether a file in the folder of a later hour has records before the end of this hour."""
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
        """Yield records of these offsets that lie in folders of other hours. The other offsets are gaps."""
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
    """Return whether a file of the partition may hold a record of a slice.

    Folders after the newest hour are of hours that have not come.
    """
    return hour - STEPS_BACK_HOURS <= file.hour <= next_hour or file.hour > newest_hour


def files_for(files: Sequence[ArchiveFile], hour: int, next_hour: int, newest_hour: int) -> tuple[int, int]:
    """Return the number and the bytes of a partition's files that may hold a record of a slice."""
    sizes = [file.size for file in files if may_hold(file, hour, next_hour, newest_hour)]
    return len(sizes), sum(sizes)
