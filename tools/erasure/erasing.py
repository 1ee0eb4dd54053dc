"""Runs erasures on the stores: says first who is erased, rewrites, and reads again until nothing is found.

One at a time, and while no rollup runs. Killed anywhere and run again, it comes to the same: the list is written first,
and with it the key that pseudonyms come from.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
import pyarrow.fs

from schemas.topics import SEGMENT_MS
from settings import Settings
from settings.durations import DAY_MS, HOUR_MS
from tools import block_list
from tools.erasure.report import Report, Viewer, remains
from udfs.logic.audience import viewer_hash
from udfs.logic.erasure import Eraser, Erasure, asked, closed, pseudonym
from udfs.sinks.erasure_list import ErasureList
from udfs.sinks.history_store import HistoryStore
from udfs.sinks.replaced_file import replace
from udfs.sources.archive import Archive, ArchiveFile, Record

# Each pass reads what came while the one before it read; only an erased viewer who views on keeps them coming.
PASSES_MAX = 5
# An object may bear the time when its upload began, and appear when a job that was away is back. What takes longer is
# found by the run that closes an erasure, which reads everything.
UPLOAD_S = 86_400.0
# For what waits to be archived while its job is away.
ARCHIVED_MS = DAY_MS


class ErasureError(ValueError):
    """What was asked for cannot be done; the text says why and what to do."""


@dataclass
class _Done:
    """What passes have read and rewritten; by viewer the files, events and rows of slices."""

    passes: int = 0
    read: set[str] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    slices_read: set[str] = field(default_factory=set)
    slices_rewritten: set[str] = field(default_factory=set)
    emptied: int = 0
    newest_s: float = 0.0
    files: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)


def erase(
    settings: Settings,
    store: pyarrow.fs.FileSystem,
    ids: Collection[str],
    now: datetime,
    *,
    unlist: bool = False,
    dry_run: bool = False,
) -> Report:
    """Erase viewers; what was done. With `unlist` their blocks end, and their names leave the block list in the end.

    Raises ErasureError, the errors of the stores, and confluent_kafka.KafkaException.
    """
    for one in ids:
        if not one:
            raise ErasureError("viewer_id='' is nobody's: events without a viewer_id have none to erase; give an id")
    kept = ErasureList(store, settings.erasure.path)
    if unlist and not dry_run:
        listed = block_list.periods(settings.kafka)
        block_list.unblock(settings.kafka, [one for one in ids if listed.get(one)])
    reach_ms = max(settings.history.late_hours * HOUR_MS, settings.kafka.retention_ms + SEGMENT_MS) + ARCHIVED_MS
    erasures = [
        asked(
            kept.get(viewer_hash(one).hex()),
            one,
            now,
            blocked=False,
            unlist=unlist,
            reach=timedelta(milliseconds=reach_ms),
        )
        for one in dict.fromkeys(ids)
    ]
    return _Run(settings, store, kept, now, dry_run=dry_run).erase(erasures, ids, since_s=0.0)


def erase_again(settings: Settings, store: pyarrow.fs.FileSystem, now: datetime) -> Report:
    """Erase from what has come since all viewers whose erasures are open, and close those whose time has come.

    Raises as `erase`.
    """
    kept = ErasureList(store, settings.erasure.path)
    erasures = kept.open()
    since_s = min((one.scanned_s for one in erasures), default=0.0) - UPLOAD_S
    if any(one.closes_at <= now for one in erasures):
        since_s = 0.0
    return _Run(settings, store, kept, now, dry_run=False).erase(erasures, [], since_s)


class _Run:
    def __init__(
        self, settings: Settings, store: pyarrow.fs.FileSystem, kept: ErasureList, now: datetime, *, dry_run: bool
    ) -> None:
        self._settings = settings
        self._store = store
        self._kept = kept
        self._now = now
        self._dry_run = dry_run
        self._archive = Archive(store, settings.archive.path)
        self._history = HistoryStore(store, settings.history.path)

    def erase(self, erasures: Sequence[Erasure], ids: Collection[str], since_s: float) -> Report:
        if not erasures:
            return Report(self._dry_run, [], 0, 0, 0, 0, 0, 0, [])
        erasures, listed = self._as_blocked(erasures)
        done = self._passes(Eraser(erasures, ids), since_s)
        after = [self._told(one, done) for one in erasures]
        if not self._dry_run:
            for one in after:
                if not one.is_open and one.unlist and one.viewer in listed:
                    block_list.forget(self._settings.kafka, listed[one.viewer])
                self._kept.put(one)
        is_listed = any(one.viewer in listed for one in after)
        return Report(
            dry_run=self._dry_run,
            viewers=[
                Viewer(
                    one.viewer,
                    done.files[one.viewer],
                    done.events[one.viewer],
                    done.rows[one.viewer],
                    one.blocked,
                    one.closes_at if one.is_open else None,
                )
                for one in after
            ],
            passes=done.passes,
            files_scanned=len(done.read),
            files_rewritten=len(done.rewritten),
            records_emptied=done.emptied,
            slices_scanned=len(done.slices_read),
            slices_rewritten=len(done.slices_rewritten),
            remains=remains(self._settings, after, self._now, is_listed),
        )

    def _as_blocked(self, erasures: Iterable[Erasure]) -> tuple[list[Erasure], dict[str, str]]:
        """The erasures, and by hash the ids that are on the block list; with pseudonyms beside those.

        All of it is written before anything is rewritten, so that no recount sees what it does not know of.
        """
        periods = {name: of for name, of in block_list.periods(self._settings.kafka).items() if of}
        listed = {viewer_hash(name).hex(): name for name in periods}
        found = []
        for erasure in erasures:
            one = msgspec.structs.replace(erasure, blocked=erasure.blocked or erasure.viewer in listed)
            found.append(one)
            if self._dry_run:
                continue
            self._kept.put(one)
            name = pseudonym(one, b"", 0)
            if one.viewer in listed and periods.get(name) != periods[listed[one.viewer]]:
                block_list.stand_in(self._settings.kafka, name, periods[listed[one.viewer]])
        return found, listed

    def _passes(self, eraser: Eraser, since_s: float) -> _Done:
        done = _Done()
        clean: set[ArchiveFile] = set()
        while True:
            done.passes += 1
            is_clean = True
            for file in self._archive.files():
                if file.written_s >= since_s and file not in clean:
                    done.newest_s = max(done.newest_s, file.written_s)
                    if self._rewrite_file(eraser, file, done):
                        is_clean = False
                    else:
                        clean.add(file)
            for path in self._history.viewer_files():
                is_clean = not self._rewrite_viewers(eraser, path, None, done) and is_clean
            for day, path in self._history.suspect_files(self._settings.counting.shards):
                is_clean = not self._rewrite_viewers(eraser, path, day, done) and is_clean
            if is_clean or self._dry_run:
                return done
            if done.passes == PASSES_MAX:
                raise ErasureError(
                    f"pass {done.passes} still found events: the viewer views on, or another erasure or a rollup runs; "
                    "see to it and run this again"
                )

    def _rewrite_file(self, eraser: Eraser, file: ArchiveFile, done: _Done) -> bool:
        """Whether anything was found in it."""
        events: Counter[str] = Counter()
        emptied = 0

        def change(record: Record) -> Record | None:
            nonlocal emptied
            without = eraser.record(record.key, record.value, record.record_ms)
            if without is None:
                return None
            events.update(without.events)
            emptied += without.emptied
            return record._replace(key=without.key, value=without.value)

        try:
            content = self._archive.rewritten(file, change)
        except FileNotFoundError:
            # It has left the archive, as raw events do in the end.
            return False
        done.read.add(file.path)
        if content is None:
            return False
        if not self._dry_run:
            replace(self._store, file.path, content)
        done.rewritten.add(file.path)
        done.events.update(events)
        done.files.update(events.keys())
        done.emptied += emptied
        return True

    def _rewrite_viewers(self, eraser: Eraser, path: str, day: int | None, done: _Done) -> bool:
        """Whether anything was found in a slice's viewers, or in the suspects of a day."""
        table, rows = eraser.viewers(self._history.get(path), day)
        done.slices_read.add(path)
        if not rows:
            return False
        if not self._dry_run:
            self._history.replace(path, table)
        done.slices_rewritten.add(path)
        done.rows.update(rows)
        return True

    def _told(self, erasure: Erasure, done: _Done) -> Erasure:
        """The erasure after this run; closed when its time has come."""
        told = msgspec.structs.replace(
            erasure,
            files=erasure.files + done.files[erasure.viewer],
            events=erasure.events + done.events[erasure.viewer],
            rows=erasure.rows + done.rows[erasure.viewer],
            scanned_s=max(erasure.scanned_s, done.newest_s),
        )
        return closed(told) if erasure.closes_at <= self._now else told
