"""What numbers must be: the words of the rules, applied to the log by brute force. Shares no code with the product."""

import collections
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LATENESS_MS = 5 * MINUTE_MS
GENERATION_MS = LATENESS_MS + 2 * MINUTE_MS
LATE_HOURS = 3


class View(NamedTuple):
    """An event."""

    event_id: bytes
    video: str
    kind: str
    viewed_ms: int
    viewer: str | None


class LogRecord(NamedTuple):
    """A record of a partition, which has one salt here; its place in the list is its offset."""

    record_ms: int
    views: tuple[View, ...]


class Counted(NamedTuple):
    """A view that counts, and whether the stream does not count it since it came late."""

    view: View
    is_late: bool

    @property
    def hour(self) -> int:
        """The hour viewed, since 1970."""
        return self.view.viewed_ms // HOUR_MS


def judged(records: Sequence[LogRecord], lost: Collection[int] = ()) -> Iterator[tuple[int, Counted]]:
    """(offset, view) of all that count of a partition of which some records are lost."""
    first: dict[bytes, int] = {}
    count: set[tuple[bytes, int]] = set()
    for offset, (append_ms, views) in enumerate(records):
        if offset in lost:
            continue
        generation = append_ms // GENERATION_MS
        for view in views:
            name = view.event_id, view.viewed_ms
            if (view.viewed_ms // MINUTE_MS + 1) * MINUTE_MS + LATENESS_MS > append_ms:
                if view.event_id not in first or generation - first[view.event_id] > 1:
                    first[view.event_id] = generation
                    count.add(name)
                    yield offset, Counted(view, is_late=False)
            elif append_ms - view.viewed_ms <= LATE_HOURS * HOUR_MS and name not in count:
                count.add(name)
                yield offset, Counted(view, is_late=True)


Key = tuple[str, str, int]
Sums = dict[Key, tuple[int, int]]


def sums(counted: Iterable[Counted], size_ms: int) -> Sums:
    """(views, of them late) by video, kind and number of a span of time of this size."""
    found: dict[Key, list[int]] = collections.defaultdict(lambda: [0, 0])
    for one in counted:
        sum_ = found[one.view.video, one.view.kind, one.view.viewed_ms // size_ms]
        sum_[0] += 1
        sum_[1] += one.is_late
    return {key: (views, late) for key, (views, late) in found.items()}
