"""Notes what became of the last events of each caller, in the memory of this process. Knows no HTTP and no Redis.

A note holds what the request has made anyway, and nothing of it is read until somebody asks or it is shared.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import count

from services.access.caller import Caller
from services.ingest.packing import Packed
from services.ingest.recent.answers import EVENTS_MAX
from services.ingest.recent.shown import Note
from services.ingest.rejections import Rejection

# How many bytes all notes may hold, by an estimate.
BYTES_MAX = 16 << 20
# A longer body is not held: the sizes of its unknown fields are not known then.
SENT_BYTES_MAX = 128 << 10
# About what a note, an event and a rejection cost beside their bytes.
_NOTE_BYTES = 600
_EVENT_BYTES = 120
_NAME_BYTES = 120
_REJECTION_BYTES = 500

# (project, public id of the key or None)
Of = tuple[str, str | None]


class Kept:
    """The notes of one caller, the oldest first. Those up to the number `shared` are known to other processes."""

    def __init__(self) -> None:
        self.notes: deque[Note] = deque()
        self.events = 0
        self.shared = -1


class Notes:
    """The notes of one process. They hold the last EVENTS_MAX events of each caller, unless the bytes run out.

    Then those go first that were the first to come.
    """

    def __init__(self, process: str, bytes_max: int = BYTES_MAX) -> None:
        self.process = process
        # Callers with notes that are not shared, the one that waits for the longest time first.
        self.waiting: OrderedDict[Of, None] = OrderedDict()
        self._bytes_max = bytes_max
        self._bytes = 0
        self._numbers = count()
        self._kept: OrderedDict[Of, Kept] = OrderedDict()

    def note(
        self,
        caller: Caller,
        at_ms: int,
        packed: Packed,
        rejected: Sequence[Rejection],
        not_written: int,
        unknown: tuple[str, bytes, Sequence[str]],
    ) -> None:
        """Note a body. `rejected` names all events that were refused, also those that were packed and not written.

        `unknown` is its media type, the body itself and the names of its unknown fields. It is on the path of every
        request: nothing here may depend on the number of events.
        """
        media, body, ignored = unknown
        events = packed.count + len(rejected) - not_written
        if not events:
            return
        parts = [part for part in zip(packed.blocks, packed.ends, packed.indexes, strict=True) if part[0]]
        if len(rejected) > EVENTS_MAX:
            rejected = rejected[-EVENTS_MAX:]
        sent = body if ignored and len(body) <= SENT_BYTES_MAX else b""
        size = (
            sum([len(block) for block, _, _ in parts])
            + len(sent)
            + _NOTE_BYTES
            + _EVENT_BYTES * events
            + _REJECTION_BYTES * len(rejected)
            + _NAME_BYTES * len(ignored)
        )
        note = Note(next(self._numbers), at_ms, parts, rejected, packed.late, events, size, ignored, media, sent)
        of = (caller.project, caller.key)
        kept = self._kept.get(of)
        if kept is None:
            kept = self._kept[of] = Kept()
        else:
            self._kept.move_to_end(of)
        kept.notes.append(note)
        kept.events += events
        self._bytes += size
        self.waiting.setdefault(of)
        while kept.events - kept.notes[0].events >= EVENTS_MAX:
            self._drop(kept)
        while self._bytes > self._bytes_max:
            self._drop_first()

    def of(self, of: Of) -> list[Note]:
        """The notes of a caller, the newest first."""
        kept = self._kept.get(of)
        return [] if kept is None else list(reversed(kept.notes))

    def not_shared(self, of: Of) -> list[Note]:
        """The notes of a caller that are not shared, the newest first."""
        kept = self._kept.get(of)
        return [] if kept is None else [note for note in reversed(kept.notes) if note.number > kept.shared]

    def is_shared(self, of: Of, number: int) -> None:
        """Note that events up to this number are shared."""
        kept = self._kept.get(of)
        if kept is not None:
            kept.shared = max(kept.shared, number)
        if kept is None or not kept.notes or kept.notes[-1].number <= kept.shared:
            self.waiting.pop(of, None)
        elif of in self.waiting:
            self.waiting.move_to_end(of)

    def _drop(self, kept: Kept) -> None:
        note = kept.notes.popleft()
        kept.events -= note.events
        self._bytes -= note.size

    def _drop_first(self) -> None:
        """Forget the oldest note of the caller who was not heard of for the longest time."""
        of = next(iter(self._kept))
        kept = self._kept[of]
        self._drop(kept)
        if not kept.notes:
            del self._kept[of]
            self.waiting.pop(of, None)
