"""Ends a rollup whose manifest is published and whose rows are written: says so, and deletes what nobody needs."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import pyarrow.fs

from settings import Settings
from udfs.logic.history.manifest import Manifest, slice_folder
from udfs.logic.history.raw_files import is_ahead, overdue_raw, raw_files_to_remove, stamped_ahead
from udfs.logic.history.register import Applied, runs, token_of
from udfs.stages.rollup_unit import RollupUnit, rows_owed
from udfs.stores.archive import Archive, ArchiveFile
from udfs.stores.arrival_hours import ArrivalHours
from udfs.stores.conditional_files import ConditionalFiles, S3Files, client_of
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease
from udfs.stores.raw_removal import leftover_rules, remove

# The lease is checked after so many deletions. A deletion does no harm if the lease is lost; the check saves work.
DELETES_BETWEEN_LOOKS = 50


def applied_of(name: str, manifest: Manifest, warnings: list[str]) -> Applied:
    """Return the state of the tables once all rows of this manifest are written."""
    return Applied(
        manifest=name,
        revision=manifest.token,
        from_hour=manifest.from_hour,
        through_hour=manifest.through_hour,
        late_through_hour=min(manifest.next_hours.values(), default=0),
        gap_hours=runs(manifest.gap_hours),
        missing=manifest.missing,
        warnings=warnings,
        missing_hours=manifest.missing_hours,
        imports=len(manifest.imports),
        has_kinds=manifest.has_kinds,
    )


def bucket(settings: Settings) -> tuple[ConditionalFiles, Callable[[], list[str]]]:
    """Return what pyarrow does not offer: files that are deleted in one request, and a check of a bucket's rules."""
    return S3Files(settings.s3), lambda: leftover_rules(client_of(settings.s3), settings)


def end_unit(settings: Settings, store: pyarrow.fs.FileSystem, unit: RollupUnit, lease: Lease) -> None:
    """End a unit whose shards have written their rows. If the manifest in force is not this lease's, do nothing.

    It writes the rows that belong to all shards, and after a restore the zeros of rows that history no longer has. Then
    it does the steps of RollupEnd. The process that waits for the rollup's job calls it. It is little work, and if the
    process dies, the next holder does it. Raises LeaseLostError.
    """
    name = lease.check().manifest
    if token_of(name) != lease.token:
        return
    history = HistoryStore(store, settings.history.path)
    manifest = history.manifest(name, settings.counting.shards)
    with rows_owed(history, settings, manifest, unit.before, lease) as rows:
        rows.write_shared()
        if unit.everything:
            rows.put_stale_to_zero()
    files, rules = bucket(settings)
    RollupEnd(settings, history, Archive(store, settings.archive.path), files, lease, rules).end(name)


class RollupEnd:
    """The last steps of a holder whose manifest is in force.

    It copies the manifest for readers of Parquet, writes into the register what the tables have, and deletes the files
    that no kept manifest names and the raw events that are past their time. `rules` returns a sentence for each
    lifecycle rule of the bucket that expires the archive or history.
    """

    def __init__(
        self,
        settings: Settings,
        history: HistoryStore,
        archive: Archive,
        files: ConditionalFiles,
        lease: Lease,
        rules: Callable[[], list[str]],
    ) -> None:
        self._settings = settings
        self._history = history
        self._archive = archive
        self._files = files
        self._lease = lease
        self._rules = rules

    def end(self, name: str) -> int:
        """Do the last steps. Return the number of the run."""
        manifest = self._history.manifest(name, self._settings.counting.shards)
        self._history.copy(manifest)
        applied = applied_of(name, manifest, [])
        self._lease.apply(applied)
        raw = self._archive.files()
        gone = self._forget(raw)
        warnings = self._warnings([file for file in raw if file not in gone])
        if warnings:
            self._lease.apply(msgspec.structs.replace(applied, warnings=warnings))
        return manifest.run

    def _forget(self, raw: Sequence[ArchiveFile]) -> set[ArchiveFile]:
        """Delete files of earlier holders that no kept manifest names, and raw events that are counted for good.

        Return the files of raw events that were deleted. While a kept manifest is missing, nothing is deleted.
        """
        register = self._lease.check()
        there = set(self._history.manifest_names())
        if not there.issuperset(register.all_kept):
            return set()
        kept = [self._history.manifest(name, self._settings.counting.shards) for name in register.all_kept]
        named = {*register.all_kept, *(path for one in kept for path in one.all_files)}
        folders = {slice_folder(name) for one in kept for name in one.all_slices}
        dead = [
            path
            for path in self._history.files_below(self._lease.token)
            if path not in named and path.rsplit("/", 1)[0] not in folders
        ]
        for at, path in enumerate(dead):
            if at % DELETES_BETWEEN_LOOKS == 0:
                self._lease.check()
            self._history.delete(path)
        # Only files that every kept manifest has counted: whichever is restored, their slices are not counted again.
        now = datetime.now(UTC)
        counted = [file for file in raw if all(file.hour <= one.last_hours.get(file.partition, -1) for one in kept)]
        final = raw_files_to_remove(
            [*counted, *self._displaced(raw, now, kept)],
            now,
            kept_days=self._settings.archive.kept_days,
            final_arrival_hour=min(one.forgotten_before for one in kept),
        )
        remove(self._files, [file.path for file in final], self._lease.check)
        gone = {file.path for file in final}
        return {file for file in raw if file.path in gone}

    def _displaced(self, raw: Sequence[ArchiveFile], now: datetime, kept: Sequence[Manifest]) -> list[ArchiveFile]:
        """Return files in folders of hours that have not come, whose records every kept manifest has counted.

        Their `hour` is changed to the hour in which their records arrived, or, if no record tells it, in which the file
        was written.
        """
        times = ArrivalHours.of(self._archive, self._settings)
        found = []
        for file in raw:
            if not is_ahead(file, now):
                continue
            steps, last = times.of_file(file)
            if last is None or any(last >= one.next_offsets.get(file.partition, 0) for one in kept):
                continue
            found.append(file._replace(hour=steps[-1][1] if steps else int(file.written_s // 3600)))
        return found

    def _warnings(self, raw: Sequence[ArchiveFile]) -> list[str]:
        overdue = overdue_raw(raw, datetime.now(UTC), self._settings.archive.kept_days)
        ahead = stamped_ahead(raw, datetime.now(UTC))
        return [*self._rules(), *(sentence for sentence in (overdue, ahead) if sentence is not None)]
