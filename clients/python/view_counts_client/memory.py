"""The queue in memory: bounded by events and bytes, and what of it is due by count, bytes and age.

Views are put in by any thread and taken out by the sender's.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from view_counts_client.clock import Clock, Stamp
from view_counts_client.events import Event, Viewed, event_of, size_of
from view_counts_client.ids import Ids
from view_counts_client.retry import AgainWait, Backoff
from view_counts_client.source import Batch


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much waits at most, and when a batch is due."""

    events_max: int
    bytes_max: int
    batch_events_max: int
    batch_bytes_max: int
    age_max_s: float


class MemoryQueue:
    """Events that wait to be sent. `wake` is called when the sender should look again."""

    def __init__(
        self,
        bounds: Bounds,
        backoff: Backoff,
        clock: Clock,
        ids: Ids,
        now_s: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._ids = ids
        self._now_s = now_s
        self._wake = wake
        # The lock is that of the condition, which would cost a call more each time.
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._viewed: deque[Viewed] = deque()
        self._bytes = 0
        self._since_s = 0.0
        self._again: deque[Event] = deque()
        self._wait = AgainWait(backoff)
        # Since the beginning.
        self.put_events = 0

    def put(self, video_id: str, viewer_id: str | None, others: str, stamp: Stamp | None, block_s: float) -> bool:
        """Put an event in, with an id and a time made now unless it has them.

        False if there is no room, also after waiting for `block_s`.
        """
        if stamp is None:
            stamp = self._clock.stamp(self._ids.make)
        size = size_of(video_id, viewer_id, others)
        with self._lock:
            if not self._has_room(size) and (
                block_s <= 0 or not self._room.wait_for(lambda: self._has_room(size), block_s)
            ):
                return False
            # The clock may have been set right since.
            if stamp[2]:
                stamp = self._clock.corrected(stamp)
            self._viewed.append((*stamp, video_id, viewer_id, others))
            self._bytes += size
            self.put_events += 1
            count = len(self._viewed)
            if count == 1:
                self._since_s = self._now_s()
        if count in {1, self._bounds.batch_events_max}:
            self._wake()
        return True

    def _has_room(self, size: int) -> bool:
        bounds = self._bounds
        held = len(self._viewed) + len(self._again)
        # A single event that is larger than all there is finds room in an empty queue.
        return held < bounds.events_max and (self._bytes + size <= bounds.bytes_max or not held)

    def due_s(self, now_s: float, *, hurry: bool) -> float | None:
        """See Source."""
        with self._lock:
            waits = []
            if self._viewed:
                is_full = (
                    len(self._viewed) >= self._bounds.batch_events_max or self._bytes >= self._bounds.batch_bytes_max
                )
                age_s = self._bounds.age_max_s - (now_s - self._since_s)
                waits.append(0.0 if is_full or hurry else max(0.0, age_s))
            if self._again:
                waits.append(self._wait.due_s(now_s))
        return min(waits, default=None)

    def take(self, now_s: float) -> Batch:
        """See Source."""
        with self._lock:
            if self._again and self._wait.due_s(now_s) == 0:
                count = min(self._bounds.batch_events_max, len(self._again))
                events = [self._again.popleft() for _ in range(count)]
                self._bytes -= sum(map(_size, events))
                batch = Batch(events, self._again)
            else:
                batch = Batch([*map(event_of, self._taken())], None)
                self._since_s = now_s
            self._room.notify_all()
        return batch

    def _taken(self) -> list[Viewed]:
        taken: list[Viewed] = []
        left = self._bounds.batch_bytes_max
        while self._viewed and len(taken) < self._bounds.batch_events_max and left > 0:
            one = self._viewed.popleft()
            size = size_of(one[3], one[4], one[5])
            self._bytes -= size
            left -= size
            taken.append(one)
        return taken

    def settled(self, batch: Batch, again: Sequence[Event], now_s: float, random: float) -> None:
        """See Source."""
        with self._lock:
            self._bytes += sum(map(_size, again))
            self._again.extend(again)
            self._wait.settled(now_s, random, failed=bool(again), was_again=batch.origin is self._again)

    def correct(self, shift_ms: int) -> None:
        """See Source."""
        with self._lock:
            if not self._clock.is_known:
                self._clock.corrected_by(shift_ms)
            self._viewed = deque(
                (one[0], one[1] + shift_ms, False, *one[3:]) if one[2] else one for one in self._viewed
            )

    def waiting(self) -> int:
        """See Source."""
        return len(self._viewed) + len(self._again)

    def drained(self) -> list[Event]:
        """Take out all that waits."""
        with self._lock:
            found = [*self._again, *map(event_of, self._viewed)]
            self._again.clear()
            self._viewed.clear()
            self._bytes = 0
        return found

    def abandon(self) -> None:
        """In a child of fork: nothing needs to be closed."""


def _size(event: Event) -> int:
    return size_of("", None, "") + len(event.fields)
