"""The records of slices of the archive: of one partition and hour of arrival, one slice after the other.

Slices are cut in the order of the offsets: one ends where the first record of a later hour stands. Times of records
step back where a partition changes its leader, and such a record lies in the folder of an earlier hour than its
neighbours; it is looked for there when it is missing here.
"""

from collections.abc import Iterator, Sequence

from udfs.sources.archive import Archive, ArchiveFile, Gap, Record

# How far the time of a record may step back.
STEPS_BACK_HOURS = 24


class PartitionSlices:
    """Slices of one partition, of some hours that are closed: those to which no record can be added.

    `hours` in order; `next_hour` is the first one after them that has records.
    """

    def __init__(self, archive: Archive, partition: int, hours: Sequence[int], next_hour: int) -> None:
        self._archive = archive
        self._partition = partition
        looked_at = {*range(hours[0] - STEPS_BACK_HOURS, hours[0]), *hours, next_hour}
        self._files = archive.files(sorted(looked_at), partition)

    def read(self, hour: int, start: int | None) -> "SliceRecords":
        """The slice of an hour that begins at `start`; None: with the first record there is."""
        firsts = [self._archive.first_offset(file) for file in self._files if file.hour > hour]
        end = min(first for first in firsts if first is not None)
        return SliceRecords(self._archive, self._partition, self._files, hour, start, end)


class SliceRecords:
    """Iterate over it once, to the end; then `next_offset` and `gaps` say what was read."""

    def __init__(
        self,
        archive: Archive,
        partition: int,
        files: Sequence[ArchiveFile],
        hour: int,
        start: int | None,
        end: int,
    ) -> None:
        self._archive = archive
        self._partition = partition
        self._own = [file for file in files if file.hour == hour]
        self._others = [file for file in files if file.hour != hour]
        self._start = start
        self.next_offset = end
        self.gaps: list[Gap] = []

    def __iter__(self) -> Iterator[Record]:
        expected = self._start
        for record in self._archive.read_partition(self._own):
            if record.offset >= self.next_offset:
                break
            if expected is not None and record.offset < expected:
                continue
            if expected is not None and record.offset > expected:
                yield from self._fill(expected, record.offset)
            yield record
            expected = record.offset + 1
        if expected is not None and expected < self.next_offset:
            yield from self._fill(expected, self.next_offset)

    def _fill(self, start: int, end: int) -> Iterator[Record]:
        """What lies in other hours of these offsets; the rest are gaps."""
        expected = start
        for record in self._archive.read_partition(self._others):
            if start <= record.offset < end:
                if record.offset > expected:
                    self.gaps.append(Gap(self._partition, expected, record.offset - 1))
                yield record
                expected = record.offset + 1
        if expected < end:
            self.gaps.append(Gap(self._partition, expected, end - 1))
