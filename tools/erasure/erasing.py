"""Runs erasures on the stores: says first who is erased, rewrites, and reads again until nothing is found.

A file is rewritten only as it was read, under the lease of history, which is given up between passes: rollups and
other erasures take turns with this. Killed anywhere and run again, it comes to the same: the list is written first, and
with it the key that pseudonyms come from.
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
from settings import Settings
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

# Each pass reads what came while the one before it read; only an erased viewer who views on keeps them coming.
PASSES_MAX = 5
# An object may bear the time when its upload began, and appear when a job that was away is back. What takes longer is
# found by the run that closes an erasure, which reads everything.
UPLOAD_S = 86_400.0
# For what waits to be archived while its job is away.
ARCHIVED_MS = DAY_MS
# The lease is given up after so long, and then whoever waits for it, looking each second, takes it.
TURN_S = 300.0
GIVE_WAY_S = 3.0
# A turn ends with the file that is being rewritten.
DEADLINE_S = 2 * TURN_S


# What is to be listed of a viewer, given what is.
Ask = Callable[[Erasure | None], Erasure]


class ErasureError(ValueError):
    """What was asked for cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Stores:
    """Where erasures work. `files` are those of `store`; `kept_ms` is connectors.kafka_admin's.

    Without registers nothing but a dry run can be done.
    """

    store: pyarrow.fs.FileSystem
    files: ConditionalFiles
    registers: Registers | None
    sleep: Callable[[float], None] = time.sleep
    kept_ms: Callable[[str, str], int | None] = kept_ms


@contextmanager
def stores_of(settings: Settings, *, dry_run: bool = False) -> Iterator[Stores]:
    """Those that the settings name. A dry run does without Cassandra.

    Raises ConditionalPutError, CassandraAwayError, and botocore's and pyarrow's errors.
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
    stores: Stores,
    ids: Collection[str],
    now: datetime,
    *,
    unlist: bool = False,
    dry_run: bool = False,
) -> Report:
    """Erase viewers; what was done. With `unlist` their blocks end, and their names leave the block list in the end.

    Raises ErasureError, LeaseLostError, HistoryError, the errors of the stores, and confluent_kafka.KafkaException.
    """
    for one in ids:
        if not one:
            raise ErasureError("viewer_id='' is nobody's: events without a viewer_id have none to erase; give an id")
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
    """Erase from what has come since all viewers whose erasures are open, and close those whose time has come.

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
    """The erasure as it is: another run may have closed it since it was listed."""
    return listed if there is None else there


class _Turns:
    """The lease of history, for one turn after the other."""

    def __init__(self, registers: Registers, path: str, sleep: Callable[[float], None]) -> None:
        self._registers = registers
        self._path = path
        self._sleep = sleep
        self._holder: LeaseHolder | None = None
        self._had_one = False
        self._ends_s = 0.0

    def lease(self) -> Lease:
        """That of this turn, checked. Raises LeaseLostError, and HistoryError without a register."""
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
        """Give the lease up, if it is held."""
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
                raise ErasureError("an erasure takes the lease of history; without its register only a dry run can be")
            self._turns = _Turns(stores.registers, settings.history.path, stores.sleep)

    def erase(self, asks: Mapping[str, Ask], ids: Collection[str], since_s: float) -> Report:
        """Erase viewers, by hash, of whose erasures each ask says what is to be listed, given what is."""
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
            # Before it closes, or nobody would do it after a kill.
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
        return self._kept_ms(self._settings.kafka.bootstrap_servers, self._settings.pack.source_topic)

    def _listed(self, asks: Mapping[str, Ask]) -> tuple[list[Erasure], dict[str, str]]:
        """The erasures that are open, and by hash the ids that are on the block list; with pseudonyms beside those.

        All of it is written before anything is rewritten, so that no recount sees what it does not know of. Of two runs
        that begin at once both have the key that is written first.
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
        """Until one finds nothing in a history that is still in force.

        Before any erasure closes that history is published again: who counted before and wakes cannot publish then.
        """
        done = _Done()
        # What was found to be without them has them never again: whoever writes anew reads who is being erased.
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
                # A rollup whose turn it was meanwhile may have read a file before it was rewritten.
                if lease.check().manifest == began:
                    if closes:
                        publish_unchanged(self._history, lease, self._settings.counting.shards, time.time())
                    return done
            if done.passes == PASSES_MAX:
                raise ErasureError(
                    f"pass {done.passes} still found events: the viewer views on, or another erasure or a rollup runs; "
                    "see to it and run this again"
                )
            self._turns.end()

    def _pass(self, eraser: Eraser, since_s: float, clean: set[ArchiveFile | str], done: _Done) -> bool:
        """Whether nothing was found, and nothing has changed or gone meanwhile."""
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
        """Whether anything was found in it, or it is not there any more."""
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
            # It has left the archive, as raw events do in the end.
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
        """Whether anything was found in a slice's viewers, or in the suspects of a day, or they are gone."""
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
        """The erasure after this run; closed when its time has come, and nobody has asked for it again meanwhile."""
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
