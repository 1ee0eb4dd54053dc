"""Slices of the archive: cut by offset, whatever the times of records do, with each gap named."""

import time
from collections.abc import Iterable
from pathlib import Path

import fastavro
import pyarrow.fs
import pytest

from tests.unit.test_archive_files import put
from udfs.stores.archive import Archive, ArchiveError, Gap, Record
from udfs.stores.arrival_hours import ArrivalHours
from udfs.stores.slice_records import PartitionSlices, SliceRecords

HOUR_MS = 3_600_000


def record(offset: int, hour: float) -> Record:
    return Record(offset, round(hour * HOUR_MS), b"key", b"value %d" % offset)


def archive_of(root: Path, files: Iterable[list[Record]]) -> Archive:
    """Each list is a file of partition 2, in the folder of the hour of its first record."""
    for number, records in enumerate(files):
        hour = records[0].record_ms // HOUR_MS
        put(root, f"arrival_day=1970-01-01/arrival_hour={hour:02}/kafka_partition=2", f"part-{number}", records)
    return Archive(pyarrow.fs.LocalFileSystem(), str(root))


def slices(archive: Archive, *hours: int) -> PartitionSlices:
    times = ArrivalHours(archive, lambda _partition, record: record.record_ms)
    return PartitionSlices(archive, times, 2, hours[:-1], hours[-1])


def offsets(found: SliceRecords) -> list[int]:
    return [one.offset for one in found.next_slice(lambda: False)]


def test_slices_are_contiguous_and_repeats_are_read_once(tmp_path: Path) -> None:
    files = [
        [record(n, 3) for n in range(5, 9)],
        [record(n, 3) for n in range(7, 12)],
        [record(n, 4) for n in (12, 13)],
        [record(14, 5)],
    ]
    all_slices = slices(archive_of(tmp_path, files), 3, 4, 5)
    first = all_slices.read(3, 5)
    assert offsets(first) == [5, 6, 7, 8, 9, 10, 11]
    assert (first.next_offset, first.next_hour, first.gaps) == (12, 4, [])
    second = all_slices.read(4, first.next_offset)
    assert offsets(second) == [12, 13]
    assert (second.next_offset, second.gaps) == (14, [])


def test_a_record_whose_time_stepped_back_is_in_the_slice_of_its_offset(tmp_path: Path) -> None:
    """Offset 12 begins hour 4; 13 says hour 3 again, 15 hour 2."""
    files = [[record(10, 3), record(11, 3), record(13, 3.9)], [record(12, 4), record(14, 4)], [record(15, 2)]]
    files += [[record(16, 4)], [record(17, 5)]]
    all_slices = slices(archive_of(tmp_path, files), 3, 4, 5)
    first = all_slices.read(3, 10)
    assert offsets(first) == [10, 11]
    assert first.gaps == []
    second = all_slices.read(4, first.next_offset)
    assert offsets(second) == [12, 13, 14, 15, 16]
    assert (second.next_offset, second.gaps) == (17, [])


def test_what_the_archive_lacks_is_named(tmp_path: Path) -> None:
    files = [[record(10, 3), record(13, 3)], [record(20, 4)]]
    found = slices(archive_of(tmp_path, files), 3, 4).read(3, 8)
    assert offsets(found) == [10, 13]
    assert found.gaps == [Gap(2, 8, 9), Gap(2, 11, 12), Gap(2, 14, 19)]
    # What follows was written just now: more may come.
    now_s = time.time()
    assert not found.is_settled(now_s)
    assert found.is_settled(now_s + 7201)


def test_an_hour_is_cut_where_a_slice_is_full(tmp_path: Path) -> None:
    files = [[record(n, 3) for n in (10, 11, 12, 14)], [record(15, 4)]]
    found = slices(archive_of(tmp_path, files), 3, 4).read(3, 10)
    cuts = []
    while found.next_hour == 3:
        taken: list[int] = []
        for one in found.next_slice(lambda: len(taken) == 2):  # noqa: B023 - asked before the next is begun
            taken.append(one.offset)  # noqa: PERF401 - looked at meanwhile
        cuts.append((taken, found.next_offset, found.next_hour, found.gaps))
    assert cuts == [([10, 11], 12, 3, []), ([12, 14], 15, 4, [Gap(2, 13, 13)])]


def test_a_file_out_of_order_is_refused(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, [[record(10, 3), record(9, 3)]])
    with pytest.raises(ArchiveError, match="part-0: offset 9 comes after 10"):
        list(archive.read_partition(archive.files()))


def test_a_file_without_records_is_none(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, [[record(10, 3)]])
    empty = tmp_path / "arrival_day=1970-01-01/arrival_hour=03/kafka_partition=2/part-empty"
    with empty.open("wb") as file, Path(archive.files()[0].path).open("rb") as other:
        fastavro.writer(file, fastavro.reader(other).writer_schema, [])
    assert [one.offset for one in archive.read_partition(archive.files())] == [10]


class Stamped:
    """Hours that records say they arrived in, by offset; others say nothing."""

    def __init__(self, hours: dict[int, float]) -> None:
        self._hours = hours

    def __call__(self, partition: int, one: Record) -> int | None:
        assert partition == 2
        hour = self._hours.get(one.offset)
        return None if hour is None else round(hour * HOUR_MS)


def test_hours_are_those_in_which_records_arrived_and_not_those_of_the_folders(tmp_path: Path) -> None:
    """Offset 12 lies in the folder of hour 9 and arrived in hour 3; 13 says nothing of itself; 14 arrived in hour 4."""
    archive = archive_of(tmp_path, [[record(10, 3), record(11, 3)], [record(12, 9)], [record(13, 4), record(14, 4)]])
    times = ArrivalHours(archive, Stamped({10: 3, 11: 3, 12: 3.5, 14: 4}))
    assert times.of_partition(archive.files(), None) == ({3, 4}, [9])
    cut = times.cut(archive.files(), 3)
    assert (cut.offset, cut.hour) == (14, 4)
    found = PartitionSlices(archive, times, 2, [3], 4, [9]).read(3, 10)
    assert offsets(found) == [10, 11, 12, 13]
    assert (found.next_offset, found.next_hour, found.gaps) == (14, 4, [])
    with pytest.raises(ValueError, match="no record of a later hour than 4"):
        times.cut(archive.files(), 4)


@pytest.mark.parametrize("counted", [None, 3, 5, 6])
def test_folders_are_looked_at_down_to_the_first_whose_hour_has_come(tmp_path: Path, counted: int | None) -> None:
    files = [[record(10, 3)], [record(11, 5)], [record(12, 6)], [record(13, 20)], [record(14, 21)]]
    archive = archive_of(tmp_path, files)
    # The last one bears no time at all, the one before it is of long ago.
    times = ArrivalHours(archive, Stamped({10: 3, 11: 5, 12: 6, 13: 2}))
    hours, ahead = times.of_partition(archive.files(), counted)
    assert (hours, ahead) == ({2, 3, 5, 6}, [20, 21])
    assert times.last_offset(archive.files()[-1]) == 14
