"""A spool as the sender's source: events are on disk when `put` returns, and are read from there to be sent."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from view_counts_client.clock import Clock, Stamp
from view_counts_client.events import Event, Viewed, event_of, size_of
from view_counts_client.ids import Ids
from view_counts_client.memory import Bounds
from view_counts_client.retry import Backoff
from view_counts_client.source import Batch
from view_counts_client.spool.folder import Slot, free_slot, left_slots
from view_counts_client.spool.log import Fsync, Log, Part

LOG = logging.getLogger("view_counts_client")
# How often a process looks for slots that others have left.
ADOPT_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class SpoolRules:
    """Where a spool is, how much it holds, and when it is forced to the disk."""

    folder: Path
    bytes_max: int
    fsync: Fsync
    fsync_interval_s: float


class _Origin(NamedTuple):
    slot: Slot
    log: Log
    part: Part


class Spool:
    """The spool of one process. It opens its files with its first event, unless `open` is called."""

    def __init__(
        self,
        rules: SpoolRules,
        bounds: Bounds,
        backoff: Backoff,
        clock: Clock,
        ids: Ids,
        now_s: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._bounds = bounds
        self._backoff = backoff
        self._clock = clock
        self._ids = ids
        self._now_s = now_s
        self._wake = wake
        self._room = threading.Condition(threading.Lock())
        self._own: Slot | None = None
        self._adopted: list[Slot] = []
        self._adopt_from_s = 0.0
        self._since_s = 0.0
        self._closing = threading.Event()
        # Since the beginning, without what former processes have left.
        self.put_events = 0

    def open(self) -> None:
        """Take a slot, with what is in it. Raises OSError."""
        with self._room:
            self._opened()

    def put(self, video_id: str, viewer_id: str | None, others: str, stamp: Stamp | None, block_s: float) -> bool:
        """Append an event, with an id and a time made now unless it has them.

        False if there is no room, also after waiting for `block_s`. Raises OSError if the disk takes nothing.
        """
        if stamp is None:
            stamp = self._clock.stamp(self._ids.make)
        size = size_of(video_id, viewer_id, others)
        with self._room:
            slot = self._opened()
            if not self._has_room(slot, size) and (
                block_s <= 0 or not self._room.wait_for(lambda: self._has_room(slot, size), block_s)
            ):
                return False
            # The clock may have been set right since.
            viewed: Viewed = (*self._clock.corrected(stamp), video_id, viewer_id, others)
            slot.viewed.append([event_of(viewed)])
            self.put_events += 1
            count = slot.viewed.unread
            if count == 1:
                self._since_s = self._now_s()
        if count in {1, self._bounds.batch_events_max}:
            self._wake()
        return True

    def append(self, events: Sequence[Event]) -> None:
        """Take over events that another source could not send. Raises OSError."""
        with self._room:
            if events:
                self._opened().viewed.append(events)

    def keep(self, in_hand: Batch | None) -> None:
        """At the end: all is on disk."""

    def _has_room(self, slot: Slot, size: int) -> bool:
        held = sum(log.bytes for log in slot.logs())
        return held + size <= self._rules.bytes_max or slot.is_drained()

    def due_s(self, now_s: float, *, hurry: bool) -> float | None:
        """See Source."""
        with self._room:
            if self._own is None:
                return None
            self._adopt(now_s)
            waits = [max(0.0, self._adopt_from_s - now_s)]
            viewed = self._own.viewed
            if viewed.unread:
                is_full = viewed.unread >= self._bounds.batch_events_max
                age_s = self._bounds.age_max_s - (now_s - self._since_s)
                waits.append(0.0 if is_full or hurry else max(0.0, age_s))
            waits += [slot.wait.due_s(now_s) for slot in self._slots() if slot.again.unread]
            if any(slot.viewed.unread for slot in self._adopted):
                waits.append(0.0)
        return min(waits)

    def take(self, now_s: float) -> Batch:
        """See Source."""
        for slot in self._slots():
            if slot.again.unread and slot.wait.due_s(now_s) == 0:
                return self._part(slot, slot.again)
            if slot.viewed.unread:
                with self._room:
                    self._since_s = now_s
                return self._part(slot, slot.viewed)
        return Batch([], None)

    def _part(self, slot: Slot, log: Log) -> Batch:
        part = log.read(self._bounds.batch_events_max, self._bounds.batch_bytes_max)
        return Batch(part.events, _Origin(slot, log, part))

    def settled(self, batch: Batch, again: Sequence[Event], now_s: float, random: float) -> None:
        """See Source."""
        if not isinstance(batch.origin, _Origin):
            return
        slot, log, part = batch.origin
        # First what must not be lost: a crash between both sends these events twice, which counts them once.
        if again:
            slot.again.append(again)
        log.settled(part)
        slot.wait.settled(now_s, random, failed=bool(again), was_again=log is slot.again)
        with self._room:
            if slot in self._adopted and slot.is_drained():
                self._adopted.remove(slot)
                slot.close()
            self._room.notify_all()

    def correct(self, shift_ms: int) -> None:
        """See Source."""
        with self._room:
            if not self._clock.is_known:
                self._clock.corrected_by(shift_ms)
            for slot in self._slots():
                slot.viewed.correct(self._clock.shift_ms)

    def waiting(self) -> int:
        """See Source."""
        return sum(log.unread for slot in self._slots() for log in slot.logs())

    def sync_for_ever(self) -> None:
        """Force the spool to the disk every now and then, until it is closed. For a thread of its own."""
        while not self._closing.wait(self._rules.fsync_interval_s):
            for slot in self._slots():
                for log in slot.logs():
                    try:
                        log.sync()
                    except OSError:
                        LOG.exception("the spool could not be forced to the disk")

    def close(self) -> None:
        """Close all files. What is not settled stays, for whoever opens the folder next."""
        self._closing.set()
        with self._room:
            for slot in self._slots():
                slot.close()
            self._own, self._adopted = None, []

    def abandon(self) -> None:
        """In a child of fork: leave all to the parent."""
        for slot in self._slots():
            slot.abandon()

    def _slots(self) -> list[Slot]:
        """What was left longest first."""
        own = self._own
        return [*self._adopted] if own is None else [*self._adopted, own]

    def _opened(self) -> Slot:
        if self._own is None:
            folder, lock = free_slot(self._rules.folder)
            self._own = self._slot(folder, lock)
            self._adopt(self._now_s())
        return self._own

    def _slot(self, folder: Path, lock: int) -> Slot:
        slot = Slot(folder, lock, self._rules.fsync, self._backoff)
        if self._clock.is_known:
            slot.viewed.correct(self._clock.shift_ms)
        return slot

    def _adopt(self, now_s: float) -> None:
        if now_s < self._adopt_from_s:
            return
        self._adopt_from_s = now_s + ADOPT_EVERY_S
        for folder, lock in left_slots(self._rules.folder):
            slot = self._slot(folder, lock)
            if slot.is_drained():
                slot.close()
                continue
            LOG.info("events that another process has left in %s are sent", folder)
            self._adopted.append(slot)
