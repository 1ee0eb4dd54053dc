"""Finds the slices that have to be counted again, since the archive has records by now that they lacked."""

from collections.abc import Sequence

from settings import HistorySettings
from udfs.logic.history.manifest import Manifest, SliceName
from udfs.logic.history.rollup_plan import may_be_mended, slices_again
from udfs.stores.archive import Archive, ArchiveFile
from udfs.stores.slice_records import files_for, may_hold


def counted_again(
    archive: Archive,
    files: Sequence[ArchiveFile],
    before: Manifest,
    partition: int,
    history: HistorySettings,
    newest_hour: int,
) -> list[SliceName]:
    """The first slice of which a missing record is there, and all that follow it; `files` are the partition's.

    `newest_hour` is the last in which any of their records arrived. Files are read only when there are others than when
    the slice was counted.
    """
    for one in may_be_mended(before, partition, history):
        hour = one.name.hour
        if files_for(files, hour, one.next_hour, newest_hour) == (one.files, one.bytes):
            continue
        last = one.gaps[-1][1]
        for file in files:
            if not may_hold(file, hour, one.next_hour, newest_hour):
                continue
            first = archive.first_offset(file)
            if first is None or first > last:
                continue
            if any(low <= record.offset <= high for record in archive.read(file) for low, high in one.gaps):
                return slices_again(before.counted[partition], one)
    return []
