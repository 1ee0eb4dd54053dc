"""Runs erasures on the stores: lists who is erased, rewrites files, and reads again until nothing is found.

It holds the lease of history, and replaces a file only if it is still as it was read. Between passes it gives up the
lease, so that rollups and other erasures can run. If it is killed and run again, the result is the same, because it
first writes the list with the key from which pseudonyms are made.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import msgspec
import pyarrow.fs

from connectors.cassandra import connect
from connectors.kafka_admin import kept_ms
from schemas.topics import SEGMENT_MS
from settings import KafkaSettings, Settings
from settings.durations import DAY_MS, HOUR_MS
from tools import block_list
from tools.erasure.publishing import publish_unchanged
from tools.erasure.report import Report, Viewer, remains
from udfs.logic.erasure.erasures import Eraser, Erasure, asked, closed, pseudonym
from udfs.logic.slices.audience import viewer_hash
from udfs.stores.archive import Archive, ArchiveFile, Record, filesystem, rewritten
from udfs.stores.conditional_files import ConditionalFiles, S3Files
from udfs.stores.erasure_list import ErasureList
from udfs.stores.history_register import CassandraRegisters, Registers
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease, LeaseHolder

# Each pass reads what came during the pass before. Many passes are needed only if an erased viewer still views.
PASSES_MAX = 5
# An object may have the time at which its upload began, and appear only when a job that was away is back. If that takes
# longer than this, the run that closes an erasure finds the object, because it reads everything.
UPLOAD_S = 86_400.0
# The time that records may wait for the archive job while it is away.
ARCHIVED_MS = DAY_MS
# The lease is given up after TURN_S. The process then waits for GIVE_WAY_S, so that others, which look for the lease
# every second, can take it.
TURN_S = 300.0
GIVE_WAY_S = 3.0
# A turn ends when the current file is rewritten, so it may last longer than TURN_S.
DEADLINE_S = 2 * TURN_S


# Computes the erasure to be listed from the one that is listed already, if there is one.
Ask = Callable[[Erasure | None], Erasure]


class ErasureError(ValueError):
    """The request cannot be done. The text says why and what to do."""


@dataclass(frozen=True)
class Stores:
    """The stores on which erasures work. `files` replaces files of `store`; `kept_ms` is connectors.kafka_admin's.

    Without `registers` only a dry run is possible.
    """

    store: pyarrow.fs.FileSystem
    files: ConditionalFiles
    registers: Registers | None
    sleep: Callable[[float], None] = time.sleep
    kept_ms: Callable[[KafkaSettings, str], int | None] = kept_ms


@contextmanager
def stores_of(settings: Settings, *, dry_run: bool = False) -> Iterator[Stores]:
    """The stores that the settings name, for the body of a `with` block. A dry run does not connect to Cassandra.

    Raises ConditionalPutError, CassandraAwayError, and errors of botocore and pyarrow.
    """
    files, store = S3Files(settings.s3), filesystem(settings.s3)
    if dry_run:
        yield Stores(store, files, None)
        return
    files.ensure_conditional(settings.erasure.path)
    session = connect(settings.cassandra)
    try:
        yield Stores(store, files, CassandraRegisters(session))
    finally:
        session.cluster.shutdown()


@dataclass
class _Done:
    """What all passes have read and rewritten. `files`, `events` and `rows` (of slices) are by viewer."""

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
    stores: Stores,
    ids: Collection[str],
    now: datetime,
    *,
    unlist: bool = False,
    dry_run: bool = False,
) -> Report:
    """Erase viewers, given by their viewer_ids, and report what was done.

    With `unlist` their blocking ends, and their ids leave the block list when the erasure closes. A dry run changes
    nothing. Raises ErasureError, LeaseLostError, HistoryError, errors of the stores, and
    confluent_kafka.KafkaException.
    """
    for one in ids:
        if not one:
            raise ErasureError("viewer_id='' names no viewer, so there is nothing to erase; give an id")
    kept = ErasureList(stores.store, settings.erasure.path)
    if unlist and not dry_run:
        listed = block_list.periods(settings.kafka)
        block_list.unblock(settings.kafka, [one for one in ids if listed.get(one)])
    reach_ms = max(settings.history.late_hours * HOUR_MS, settings.kafka.retention_ms + SEGMENT_MS) + ARCHIVED_MS
    reach = timedelta(milliseconds=reach_ms)
    asks = {
        viewer_hash(one).hex(): partial(asked, viewer_id=one, now=now, blocked=False, unlist=unlist, reach=reach)
        for one in ids
    }
    return _Run(settings, stores, kept, now, dry_run=dry_run).erase(asks, ids, since_s=0.0)


def erase_again(settings: Settings, stores: Stores, now: datetime) -> Report:
    """Erase viewers with open erasures from what has come since the last run, and close erasures that are due.

    Raises as `erase`.
    """
    kept = ErasureList(stores.store, settings.erasure.path)
    erasures = kept.open()
    since_s = min((one.scanned_s for one in erasures), default=0.0) - UPLOAD_S
    if any(one.closes_at <= now for one in erasures):
        since_s = 0.0
    asks = {one.viewer: partial(_there, one) for one in erasures}
    return _Run(settings, stores, kept, now, dry_run=False).erase(asks, [], since_s)


def _there(listed: Erasure, there: Erasure | None) -> Erasure:
    """The erasure as it is listed now, because another run may have closed it in the meantime."""
    return listed if there is None else there


class _Turns:
    """Takes the lease of history for one turn after the other."""

    def __init__(self, registers: Registers, path: str, sleep: Callable[[float], None]) -> None:
        self._registers = registers
        self._path = path
        self._sleep = sleep
        self._holder: LeaseHolder | None = None
        self._had_one = False
        self._ends_s = 0.0

    def lease(self) -> Lease:
        """The lease of the current turn, checked. Raises LeaseLostError, and HistoryError without a register."""
        if self._holder is not None and time.monotonic() >= self._ends_s:
            self.end()
        if self._holder is None:
            if self._had_one:
                self._sleep(GIVE_WAY_S)
            holder = LeaseHolder(self._registers, self._path, "erasure", deadline_s=DEADLINE_S)
            self._holder = holder.__enter__()
            self._had_one = True
            self._ends_s = time.monotonic() + TURN_S
        self._holder.lease.check()
        return self._holder.lease

    def end(self) -> None:
        """Give up the lease, if it is held."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.__exit__(None, None, None)


class _Run:
    def __init__(self, settings: Settings, stores: Stores, kept: ErasureList, now: datetime, *, dry_run: bool) -> None:
        self._settings = settings
        self._files = stores.files
        self._kept = kept
        self._now = now
        self._dry_run = dry_run
        self._archive = Archive(stores.store, settings.archive.path)
        self._history = HistoryStore(stores.store, settings.history.path)
        self._kept_ms = stores.kept_ms
        self._turns: _Turns | None = None
        if not dry_run:
            if stores.registers is None:
                raise ErasureError(
                    "an erasure needs the lease of history, and there is no register of it; make a dry run, or make "
                    "the register (python -m tools.ops history init)"
                )
            self._turns = _Turns(stores.registers, settings.history.path, stores.sleep)

    def erase(self, asks: Mapping[str, Ask], ids: Collection[str], since_s: float) -> Report:
        """Erase viewers. `asks` computes the erasure to be listed, by the viewer's hash; `ids` are their viewer_ids."""
        erasures, listed = self._listed(asks) if asks else ([], {})
        if not erasures:
            return Report(self._dry_run, [], 0, 0, 0, 0, 0, 0, [])
        try:
            done = self._passes(Eraser(erasures, ids), since_s, any(self._closes(one) for one in erasures))
        finally:
            if self._turns is not None:
                self._turns.end()
        after = []
        for one in erasures:
            told = partial(self._told, one, done)
            leaves = one.unlist and one.viewer in listed and not self._dry_run
            # The id leaves the block list before the erasure closes. Otherwise nothing would do it after a kill.
            if leaves and not told(self._kept.get(one.viewer)).is_open:
                block_list.forget(self._settings.kafka, listed[one.viewer])
            after.append(told(one) if self._dry_run else self._kept.change(self._files, one.viewer, told))
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
            remains=remains(self._settings, after, self._now, is_listed, self._source_kept_ms()),
        )

    def _source_kept_ms(self) -> int | None:
        return self._kept_ms(self._settings.kafka, self._settings.pack.source_topic)

    def _listed(self, asks: Mapping[str, Ask]) -> tuple[list[Erasure], dict[str, str]]:
        """The open erasures, and the viewer_ids on the block list by hash.

        Also puts a pseudonym on the block list for each viewer who is on it. All of this is written before any file is
        rewritten, so that no rollup finds a pseudonym that it does not know. If two runs begin at the same time, both
        use the key that was written first.
        """
        periods = {name: of for name, of in block_list.periods(self._settings.kafka).items() if of}
        listed = {viewer_hash(name).hex(): name for name in periods}
        found = []
        for viewer, ask in asks.items():
            to = partial(_asked_for, ask, is_blocked=viewer in listed)
            one = to(self._kept.get(viewer)) if self._dry_run else self._kept.change(self._files, viewer, to)
            if not one.is_open:
                continue
            found.append(one)
            if self._dry_run:
                continue
            name = pseudonym(one, b"", 0)
            if one.viewer in listed and periods.get(name) != periods[listed[one.viewer]]:
                block_list.stand_in(self._settings.kafka, name, periods[listed[one.viewer]])
        return found, listed

    def _passes(self, eraser: Eraser, since_s: float, closes: bool) -> _Done:
        """Run passes until one finds nothing, and history has not changed during that pass.

        If an erasure closes, the state of history is then published again. So a rollup that counted before, and was
        asleep in the meantime, can no longer publish.
        """
        done = _Done()
        # A file without erased viewers needs no second look: a process that writes new files reads the list first.
        clean: set[ArchiveFile | str] = set()
        while True:
            done.passes += 1
            began = "" if self._turns is None else self._turns.lease().check().manifest
            is_clean = self._pass(eraser, since_s, clean, done)
            if self._dry_run:
                return done
            assert self._turns is not None
            if is_clean:
                lease = self._turns.lease()
                # A rollup that ran between the turns may have read a file before it was rewritten.
                if lease.check().manifest == began:
                    if closes:
                        publish_unchanged(self._history, lease, self._settings.counting.shards, time.time())
                    return done
            if done.passes == PASSES_MAX:
                raise ErasureError(
                    f"pass {done.passes} still found events: the viewer still views, or another erasure or a rollup "
                    "runs; wait until it has ended, and run this again"
                )
            self._turns.end()

    def _pass(self, eraser: Eraser, since_s: float, clean: set[ArchiveFile | str], done: _Done) -> bool:
        """Run one pass. Returns whether it found nothing, and no file has changed or gone in the meantime."""
        is_clean = True
        for file in self._archive.files():
            if file.written_s >= since_s and file not in clean:
                done.newest_s = max(done.newest_s, file.written_s)
                if self._rewrite_file(eraser, file, done):
                    is_clean = False
                else:
                    clean.add(file)
        tables: list[tuple[int | None, str]] = [(None, path) for path in self._history.viewer_files()]
        for day, path in [*tables, *self._history.suspect_files()]:
            if path not in clean:
                if self._rewrite_viewers(eraser, path, day, done):
                    is_clean = False
                else:
                    clean.add(path)
        return is_clean

    def _check(self) -> None:
        """Raise LeaseLostError unless this may write."""
        if self._turns is not None:
            self._turns.lease()

    def _rewrite_file(self, eraser: Eraser, file: ArchiveFile, done: _Done) -> bool:
        """Rewrite a file of the archive. Returns whether an erased viewer was found, or the file is gone or changed."""
        events: Counter[str] = Counter()
        emptied = 0

        def change(record: Record) -> Record | None:
            nonlocal emptied
            without = eraser.erase_from(record.key, record.value, record.record_ms)
            if without is None:
                return None
            events.update(without.events)
            emptied += without.emptied
            return record._replace(key=without.key, value=without.value)

        try:
            content, tag = self._files.read(file.path)
        except FileNotFoundError:
            # The file has left the archive, as all raw events do after some days.
            return True
        changed = rewritten(file.path, content, change)
        done.read.add(file.path)
        if changed is None:
            return False
        if not self._dry_run:
            self._check()
            if not self._files.replace(file.path, changed, tag):
                return True
        done.rewritten.add(file.path)
        done.events.update(events)
        done.files.update(events.keys())
        done.emptied += emptied
        return True

    def _rewrite_viewers(self, eraser: Eraser, path: str, day: int | None, done: _Done) -> bool:
        """Rewrite the viewers of a slice, or the suspects of a day. Returns as `_rewrite_file`."""
        try:
            before = self._history.read(self._files, path)
        except FileNotFoundError:
            return True
        table, rows = eraser.viewers(before.table, day)
        done.slices_read.add(path)
        if not rows:
            return False
        if not self._dry_run:
            self._check()
            if not self._history.replace(self._files, path, before, table):
                return True
        done.slices_rewritten.add(path)
        done.rows.update(rows)
        return True

    def _closes(self, erasure: Erasure) -> bool:
        return erasure.closes_at <= self._now

    def _told(self, erasure: Erasure, done: _Done, there: Erasure | None) -> Erasure:
        """The erasure after this run. It is closed if it is due and was not asked for again in the meantime."""
        now = erasure if there is None else there
        told = msgspec.structs.replace(
            now,
            files=now.files + done.files[erasure.viewer],
            events=now.events + done.events[erasure.viewer],
            rows=now.rows + done.rows[erasure.viewer],
        )
        if (now.key, now.asked_at) != (erasure.key, erasure.asked_at):
            return told
        told = msgspec.structs.replace(told, scanned_s=max(now.scanned_s, done.newest_s))
        return closed(told) if self._closes(erasure) else told


def _asked_for(ask: Ask, there: Erasure | None, *, is_blocked: bool) -> Erasure:
    found = ask(there)
    return msgspec.structs.replace(found, blocked=found.blocked or is_blocked) if found.is_open else found
