"""Holds the late events of a slice, with a few numbers of each, and finds repeats among them.

They are held in columns, not objects, because clients can send any number of late events. A late event takes its own
bytes and 33 more.
"""

import array
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from udfs.logic.kernels.hashing import mix64
from udfs.logic.kernels.id_index import Ids
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import hash_secret, leaf, load_u64, njit
from udfs.logic.minutes.cells import slots_for
from udfs.logic.slices.repeats import Repeat, SeenIds, Subjects, subjects_of
from udfs.logic.stream.block_table import BlockTable, is_blocked
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS_1, VIEWER_AT, VIEWER_LEN, put_span, read_event


class LateEvents:
    """Collects late events, record by record. None may be added once a column has been read."""

    def __init__(self) -> None:
        self._datums = bytearray()
        self._starts = array.array("q", [0])
        self._viewed_ms = array.array("q")
        self._append_ms = array.array("q")
        self._is_blocked = bytearray()
        self._subjects = array.array("Q")

    def __len__(self) -> int:
        return len(self._viewed_ms)

    def add(self, datums: Iterable[bytes], append_ms: int, blocks: BlockTable) -> None:
        """Add ViewEvents of one record. Dedup must have found that they can be read."""
        found = list(datums)
        starts = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(datum) for datum in found], out=starts[1:])
        octets = b"".join(found)
        buf = np.frombuffer(octets, np.uint8)
        spans, viewed_ms = late_spans(buf, starts[:-1], starts[1:])
        blocked = _are_blocked(buf, spans, append_ms, blocks)
        self._starts.frombytes((starts[1:] + len(self._datums)).tobytes())
        self._datums += octets
        self._viewed_ms.frombytes(viewed_ms.tobytes())
        self._append_ms.frombytes(np.full(len(found), append_ms, np.int64).tobytes())
        self._is_blocked += blocked.tobytes()
        self._subjects.frombytes(subjects_of(buf, spans, np.arange(len(found))).tobytes())

    @property
    def datums(self) -> Bytes:
        """The bytes of all events; event i is datums[starts[i] : starts[i + 1]]."""
        return np.frombuffer(self._datums, np.uint8)

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each event begins, and where the last one ends."""
        return np.frombuffer(self._starts, np.int64)

    @property
    def viewed_ms(self) -> npt.NDArray[np.int64]:
        """When each event was viewed."""
        return np.frombuffer(self._viewed_ms, np.int64)

    @property
    def append_ms(self) -> npt.NDArray[np.int64]:
        """When each event arrived."""
        return np.frombuffer(self._append_ms, np.int64)

    @property
    def is_blocked(self) -> npt.NDArray[np.bool_]:
        """Whether the viewer of each event was blocked when it arrived."""
        return np.frombuffer(self._is_blocked, np.bool_)

    @property
    def subjects(self) -> Subjects:
        """The hash of each event's video and kind."""
        return np.frombuffer(self._subjects, np.uint64)

    def ids(self, chosen: npt.NDArray[np.int64]) -> Ids:
        """Return the ids of these events."""
        found: Ids = _ids(self.datums, self.starts, chosen)
        return found


class Names:
    """Finds which of some events are repeats, of each other or of events that count already. It is exact.

    The name of an event is its id and the time at which it was viewed. An event is a repeat of another one of the same
    name. `subjects` only tell what kind of repeat it is (udfs.logic.slices.repeats.Repeat).
    """

    def __init__(self, ids: Ids, viewed_ms: npt.NDArray[np.int64], subjects: Subjects) -> None:
        self._events = ids, viewed_ms, subjects
        self._slots = np.full(slots_for(len(ids)), -1, np.int32)
        # For each event, the first event of the same name, and the next one of it or -1.
        self._first, self._next = _fill(self._slots, ids, viewed_ms)
        # For the first event of a name: whether an event of this name counts already, and whether one of these has no
        # subject. For each event: whether one of these has its subject.
        self._is_known = np.zeros(len(ids), np.bool_)
        self._is_unsure = np.zeros(len(ids), np.bool_)
        self._is_same = np.zeros(len(ids), np.bool_)

    def note(self, known: SeenIds) -> None:
        """Add events that count already. An event of the same name as one of them is a repeat."""
        subjects = np.empty(0, np.uint64) if known.subjects is None else known.subjects
        _note(
            self._slots, self._next, *self._events, known.ids, known.viewed_ms, subjects, known.subjects is not None,
            self._is_known, self._is_unsure, self._is_same,
        )  # fmt: skip

    def new(self) -> npt.NDArray[np.int64]:
        """Return, in order, the first event of each name, unless an event of this name counts already."""
        return np.nonzero((self._first == np.arange(len(self._first))) & ~self._is_known)[0]

    def repeats(self) -> Counter[str]:
        """Return how many of the other events are which kind of repeat, by names of Repeat."""
        subjects, first = self._events[2], self._first
        is_known, is_unsure = self._is_known[first], self._is_unsure[first]
        is_repeat = is_known | (first != np.arange(len(first)))
        is_same = np.where(is_known, self._is_same, subjects == subjects[first])
        numbers = {
            Repeat.SAME: is_repeat & is_same,
            Repeat.UNKNOWN: is_repeat & ~is_same & is_unsure,
            Repeat.CONFLICTING: is_repeat & ~is_same & ~is_unsure,
        }
        return +Counter({repeat.name.lower(): int(are.sum()) for repeat, are in numbers.items()})


@njit(cache=True)
def late_spans(buf, starts, ends):  # type: ignore[no-untyped-def]
    """Return (spans as in a Scan, viewed_at) of the events buf[starts[i] : ends[i]], which may be of any version."""
    n = starts.shape[0]
    spans = np.empty((n, 8), np.int64)
    viewed = np.empty(n, np.int64)
    for i in range(n):
        # Each version begins with the fields of version 1, and no others are needed.
        video_at, video_len, viewed_at, kind_at, kind_len, viewer_at, viewer_len, _, _ = read_event(
            buf, starts[i], OPTIONAL_TEXTS_1
        )
        put_span(spans, i, starts[i], ends[i], video_at, video_len, kind_at, kind_len, viewer_at, viewer_len)
        viewed[i] = viewed_at
    return spans, viewed


@njit(cache=True)
def _are_blocked(buf, spans, append, blocks):  # type: ignore[no-untyped-def]
    slots, arena, name_at, period_at, periods = blocks
    found = np.zeros(spans.shape[0], np.bool_)
    for i in range(spans.shape[0]):
        found[i] = is_blocked(
            buf, spans[i, VIEWER_AT], spans[i, VIEWER_LEN], append, slots, arena, name_at, period_at, periods
        )
    return found


@njit(cache=True)
def _ids(buf, starts, chosen):  # type: ignore[no-untyped-def]
    found = np.empty((chosen.shape[0], 2), np.uint64)
    for place in range(chosen.shape[0]):
        at = starts[chosen[place]]
        found[place, 0] = load_u64(buf, at)
        found[place, 1] = load_u64(buf, at + 8)
    return found


@leaf()
def _slot(low, high, viewed, mask):  # type: ignore[no-untyped-def]
    return mix64(low ^ mix64(high ^ mix64(np.uint64(viewed) ^ hash_secret()))) & mask


@njit(cache=True)
def _fill(slots, ids, viewed_ms):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    first = np.empty(ids.shape[0], np.int64)
    following = np.full(ids.shape[0], -1, np.int64)
    # For the first event of a name, the last one so far.
    last = np.arange(ids.shape[0])
    for i in range(ids.shape[0]):
        slot = _slot(ids[i, 0], ids[i, 1], viewed_ms[i], mask)
        while True:
            other = slots[slot]
            if other < 0:
                slots[slot] = i
                first[i] = i
                break
            if ids[other, 0] == ids[i, 0] and ids[other, 1] == ids[i, 1] and viewed_ms[other] == viewed_ms[i]:
                first[i] = other
                following[last[other]] = i
                last[other] = i
                break
            slot = (slot + np.uint64(1)) & mask
    return first, following


@njit(cache=True)
def _note(  # type: ignore[no-untyped-def]
    slots, following, ids, viewed_ms, subjects, known, known_ms, known_subjects, has_subjects, is_known, is_unsure,
    is_same,
):  # fmt: skip
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(known.shape[0]):
        slot = _slot(known[i, 0], known[i, 1], known_ms[i], mask)
        while True:
            event = np.int64(slots[slot])
            if event < 0:
                break
            if ids[event, 0] == known[i, 0] and ids[event, 1] == known[i, 1] and viewed_ms[event] == known_ms[i]:
                is_known[event] = True
                if not has_subjects:
                    is_unsure[event] = True
                    break
                while event >= 0:
                    if subjects[event] == known_subjects[i]:
                        is_same[event] = True
                    event = following[event]
                break
            slot = (slot + np.uint64(1)) & mask
