"""Makes the next snapshot of a table, which adds and removes files in one step.

All entries of a month are in one file, which Iceberg calls a manifest. So a change writes only the manifest of its
month again, and a table of several years has some tens of manifests. pyiceberg's own transactions would add one or two
with each change, and never merge them.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyiceberg.avro.codecs import AvroCompressionCodec
from pyiceberg.manifest import (
    DataFile,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.table.update import AddSnapshotUpdate, RemoveSnapshotsUpdate, SetSnapshotRefUpdate, TableUpdate
from pyiceberg.typedef import TableVersion

from tools.iceberg.columns import day_of_url
from tools.iceberg.table_files import VERSIONS_KEPT, TableFiles

_FORMAT_VERSION: TableVersion = 2
_CODEC: AvroCompressionCodec = "deflate"
# A month, or (0, 0) for all time.
_Month = tuple[int, int]


class Live(NamedTuple):
    """A file of a snapshot, and the manifest that has its entry."""

    entry: ManifestEntry
    manifest: ManifestFile

    @property
    def url(self) -> str:
        """The URL of the file."""
        return self.entry.data_file.file_path


def live_files(table: TableFiles, metadata: TableMetadata) -> list[Live]:
    """The files of the current snapshot."""
    snapshot = metadata.current_snapshot()
    manifests = [] if snapshot is None else snapshot.manifests(table.io)
    return [Live(entry, manifest) for manifest in manifests for entry in manifest.fetch_manifest_entry(table.io)]


def next_snapshot(
    table: TableFiles,
    metadata: TableMetadata,
    before: Sequence[Live],
    added: Sequence[DataFile],
    removed: Sequence[Live],
) -> tuple[TableUpdate, ...]:
    """Write the files of a new snapshot, and return the changes of the metadata that make it the current one.

    `before` are all files of the snapshot before it. The changes also remove snapshots older than the last few.
    """
    parent = metadata.current_snapshot()
    number = metadata.new_snapshot_id()
    sequence_number = metadata.next_sequence_number()
    manifests = _manifests(table, metadata, number, before, added, removed)
    url = table.url_of(f"snap-{number}-{uuid.uuid4()}.avro")
    with write_manifest_list(
        format_version=_FORMAT_VERSION,
        output_file=table.io.new_output(url),
        snapshot_id=number,
        parent_snapshot_id=None if parent is None else parent.snapshot_id,
        sequence_number=sequence_number,
        avro_compression=_CODEC,
    ) as writer:
        writer.add_manifests(manifests)
    snapshot = Snapshot(
        snapshot_id=number,
        parent_snapshot_id=None if parent is None else parent.snapshot_id,
        sequence_number=sequence_number,
        manifest_list=url,
        summary=_summary(metadata, added, removed),
        schema_id=metadata.current_schema_id,
    )
    # The new snapshot counts as one of those that are kept.
    old = sorted(metadata.snapshots, key=lambda one: one.sequence_number or 0)[: 1 - VERSIONS_KEPT]
    return (
        AddSnapshotUpdate(snapshot=snapshot),
        SetSnapshotRefUpdate(
            ref_name=MAIN_BRANCH,
            type=SnapshotRefType.BRANCH,
            snapshot_id=number,
            max_ref_age_ms=None,
            max_snapshot_age_ms=None,
            min_snapshots_to_keep=None,
        ),
        *([RemoveSnapshotsUpdate(snapshot_ids=[one.snapshot_id for one in old])] if old else []),
    )


def urls_named(table: TableFiles, metadata: TableMetadata) -> set[str]:
    """The URLs of all metadata files that the snapshots of this version need."""
    lists = {snapshot.manifest_list for snapshot in metadata.snapshots}
    return lists | {one.manifest_path for snapshot in metadata.snapshots for one in snapshot.manifests(table.io)}


def _manifests(
    table: TableFiles,
    metadata: TableMetadata,
    number: int,
    before: Sequence[Live],
    added: Sequence[DataFile],
    removed: Sequence[Live],
) -> list[ManifestFile]:
    gone = {one.url for one in removed}
    old: dict[_Month, list[Live]] = defaultdict(list)
    new: dict[_Month, list[DataFile]] = defaultdict(list)
    for one in before:
        old[_month(one.url)].append(one)
    for file in added:
        new[_month(file.file_path)].append(file)
    shared = _of_several_months(before)
    found: list[ManifestFile] = []
    for month in sorted(old.keys() | new.keys()):
        mine = {one.manifest for one in old[month]}
        is_as_it_was = month not in new and not any(one.url in gone for one in old[month])
        if is_as_it_was and len(mine) == 1 and not mine & shared:
            found += mine
        else:
            found.append(_manifest(table, metadata, number, old[month], new[month], gone))
    return found


def _manifest(
    table: TableFiles,
    metadata: TableMetadata,
    number: int,
    old: Iterable[Live],
    new: Iterable[DataFile],
    gone: set[str],
) -> ManifestFile:
    with write_manifest(
        format_version=_FORMAT_VERSION,
        spec=metadata.spec(),
        schema=metadata.schema(),
        output_file=table.io.new_output(table.url_of(f"{uuid.uuid4()}-m0.avro")),
        snapshot_id=number,
        avro_compression=_CODEC,
    ) as writer:
        for file in new:
            writer.add(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=number, data_file=file))
        for one in old:
            # The entry of a removed file stays for one snapshot, for readers that ask what changed.
            (writer.delete if one.url in gone else writer.existing)(one.entry)
    return writer.to_manifest_file()


def _summary(metadata: TableMetadata, added: Sequence[DataFile], removed: Sequence[Live]) -> Summary:
    collector = SnapshotSummaryCollector()
    for file in added:
        collector.add_file(file, metadata.schema(), metadata.spec())
    for one in removed:
        collector.remove_file(one.entry.data_file, metadata.schema(), metadata.spec())
    operation = Operation.OVERWRITE if added and removed else Operation.DELETE if removed else Operation.APPEND
    parent = metadata.current_snapshot()
    before = None if parent is None or parent.summary is None else parent.summary
    return update_snapshot_summaries(Summary(operation, **collector.build()), before)


def _of_several_months(before: Iterable[Live]) -> set[ManifestFile]:
    """Manifests with files of more than one month, which another writer may have made."""
    months: dict[ManifestFile, set[_Month]] = defaultdict(set)
    for one in before:
        months[one.manifest].add(_month(one.url))
    return {manifest for manifest, of in months.items() if len(of) > 1}


def _month(url: str) -> _Month:
    day = day_of_url(url)
    return (0, 0) if day is None else (day.year, day.month)
