"""Finds the slices that have to be counted again, because the archive now has records that they lacked."""

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
    """Return the first slice of which a missing record has appeared, and all slices that follow it.

    `files` are those of the partition, and `newest_hour` is the last hour in which any of their records arrived. Files
    are only read if they have changed since the slice was counted.
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
