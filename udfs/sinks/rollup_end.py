"""Ends a rollup whose manifest is published and whose rows are written: says so, and lets go what nobody needs."""

import pyarrow.fs

from settings import Settings
from udfs.logic.history import Manifest, slice_folder
from udfs.logic.register import Applied, runs
from udfs.sinks.history_store import HistoryStore
from udfs.sinks.lease import Lease

# What is deleted harms nobody, also when the lease is lost meanwhile: looking at it saves work.
DELETES_BETWEEN_LOOKS = 50


def applied_of(name: str, manifest: Manifest, warnings: list[str]) -> Applied:
    """What the tables have, once all rows of this manifest are written."""
    return Applied(
        manifest=name,
        revision=manifest.token,
        from_hour=manifest.from_hour,
        through_hour=manifest.through_hour,
        late_through_hour=min(manifest.next_hours.values(), default=0),
        gap_hours=runs(manifest.gap_hours),
        missing=manifest.missing,
        warnings=warnings,
    )


class RollupEnd:
    """The last steps of a holder whose manifest is in force."""

    def __init__(self, settings: Settings, store: pyarrow.fs.FileSystem, history: HistoryStore, lease: Lease) -> None:
        self._settings = settings
        self._store = store
        self._history = history
        self._lease = lease

    def end(self, name: str) -> int:
        """Do them; the number of the run."""
        manifest = self._history.manifest(name, self._settings.counting.shards)
        self._history.copy(manifest)
        self._lease.apply(applied_of(name, manifest, self._warnings()))
        self._forget()
        return manifest.run

    def _forget(self) -> None:
        """Delete what no kept manifest names, of holders before this one; nothing while a kept manifest is missing."""
        register = self._lease.check()
        there = set(self._history.manifest_names())
        if not there.issuperset(register.all_kept):
            return
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

    def _warnings(self) -> list[str]:
        return []
