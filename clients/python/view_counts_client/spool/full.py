"""A queue in memory with a spool for what it has no room for. What lies in memory is lost with the process."""

from collections.abc import Sequence
from typing import NamedTuple

from view_counts_client.clock import Clock, Stamp
from view_counts_client.events import Event
from view_counts_client.ids import Ids
from view_counts_client.memory import MemoryQueue
from view_counts_client.source import Batch
from view_counts_client.spool.source import Spool


class _Origin(NamedTuple):
    source: MemoryQueue | Spool
    batch: Batch


class QueueThenSpool:
    """The memory's events go first. A spool is opened at once, for what a former process has left."""

    def __init__(self, memory: MemoryQueue, spool: Spool, clock: Clock, ids: Ids) -> None:
        self._memory = memory
        self._spool = spool
        self._clock = clock
        self._ids = ids
        self._is_spooling = False

    @property
    def put_events(self) -> int:
        """How many events were taken since the beginning."""
        return self._memory.put_events + self._spool.put_events

    def put(self, video_id: str, viewer_id: str | None, others: str, stamp: Stamp | None, block_s: float) -> bool:
        """Put an event into the queue, or after waiting for `block_s` into the spool. Raises OSError."""
        if stamp is None:
            stamp = self._clock.stamp(self._ids.make)
        # Whoever has waited in vain does not wait again, as long as the queue is full.
        if self._memory.put(video_id, viewer_id, others, stamp, 0.0 if self._is_spooling else block_s):
            self._is_spooling = False
            return True
        self._is_spooling = True
        return self._spool.put(video_id, viewer_id, others, stamp, 0.0)

    def due_s(self, now_s: float, *, hurry: bool) -> float | None:
        """See Source."""
        found = [source.due_s(now_s, hurry=hurry) for source in (self._memory, self._spool)]
        return min((due_s for due_s in found if due_s is not None), default=None)

    def take(self, now_s: float) -> Batch:
        """See Source."""
        sources: list[MemoryQueue | Spool] = [self._memory, self._spool]
        for source in sources:
            batch = source.take(now_s)
            if batch.events:
                return Batch(batch.events, _Origin(source, batch))
        return Batch([], None)

    def settled(self, batch: Batch, again: Sequence[Event], now_s: float, random: float) -> None:
        """See Source."""
        if isinstance(batch.origin, _Origin):
            source, inner = batch.origin
            source.settled(inner, again, now_s, random)

    def correct(self, shift_ms: int) -> None:
        """See Source."""
        self._memory.correct(shift_ms)
        self._spool.correct(shift_ms)

    def waiting(self) -> int:
        """See Source."""
        return self._memory.waiting() + self._spool.waiting()

    def open(self) -> None:
        """Open the spool. Raises OSError."""
        self._spool.open()

    def keep(self, in_hand: Batch | None) -> None:
        """At the end: put what lies in memory into the spool, and what is being sent of it. Raises OSError."""
        origin = None if in_hand is None else in_hand.origin
        from_memory = isinstance(origin, _Origin) and origin.source is self._memory
        sent = in_hand.events if in_hand is not None and from_memory else []
        self._spool.append([*sent, *self._memory.drained()])

    def sync_for_ever(self) -> None:
        """See Spool."""
        self._spool.sync_for_ever()

    def close(self) -> None:
        """See Spool."""
        self._spool.close()

    def abandon(self) -> None:
        """See Spool."""
        self._spool.abandon()
