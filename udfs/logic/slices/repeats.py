"""Tells repeats of an event from different events that have the same id.

Only the id decides what counts, in the stream and here. So a client with a bad random generator loses views, and nobody
would notice. Therefore an 8-byte hash of video and kind is kept beside the id of each event that counts. When a slice
is counted, events that repeat an id are compared with that hash. No verdict depends on it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from settings import CountingSettings
from settings.durations import HOUR_MS, MINUTE_MS
from udfs.logic.kernels.hash_columns import TYPE, column_of
from udfs.logic.kernels.hashing import hash_bytes, mix64
from udfs.logic.kernels.id_index import IdIndex, Ids
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import leaf, load_u64, njit
from udfs.logic.wire.batch_scan import KIND_AT, KIND_LEN, START, VIDEO_AT, VIDEO_LEN

Subjects = npt.NDArray[np.uint64]
# So many samples are kept for each slice and reason.
SAMPLES_MAX = 100
_TIME = pa.timestamp("ms", "UTC")
SAMPLES = pa.schema(
    {
        "event_id": TYPE,
        "viewed_at": _TIME,
        "first_viewed_at": _TIME,
        "video_id": pa.string(),
        "kind": pa.string(),
        "reason": pa.string(),
    }
)


class Repeat(IntEnum):
    """What an event is whose id counts already. If several events have that id, the most similar one decides.

    It is CONFLICTING if video or kind differ, RESTAMPED if only the time differs, SAME if nothing differs.
    """

    NOT_FOUND = 0
    # The slice of the other event has kept no hashes.
    UNKNOWN = 1
    CONFLICTING = 2
    RESTAMPED = 3
    SAME = 4


class SeenIds(NamedTuple):
    """Events that count, those of blocked viewers included, in any order. Row i of each column is one event.

    `ids` are uint64[n, 2], and `viewed_ms` are the times at which they were viewed, in ms since 1970.
    `subjects` are hashes of video and kind, or None for a slice of a version that kept none.
    """

    ids: Ids
    viewed_ms: npt.NDArray[np.int64]
    subjects: Subjects | None = None

    @property
    def hours(self) -> npt.NDArray[np.int64]:
        """The hour in which each was viewed, in hours since 1970."""
        return self.viewed_ms // HOUR_MS

    def taken(self, rows: npt.NDArray[np.int64]) -> "SeenIds":
        """Return the events in these rows, in their order."""
        subjects = None if self.subjects is None else self.subjects[rows]
        return SeenIds(self.ids[rows], self.viewed_ms[rows], subjects)


@leaf()
def _subject_at(buf, video_at, video_len, kind_at, kind_len):  # type: ignore[no-untyped-def]
    """Return the hash of video and kind. It is stored with slices, so it must never change."""
    video, kind = hash_bytes(buf, video_at, video_len), hash_bytes(buf, kind_at, kind_len)
    return mix64(video * np.uint64(0x9E3779B97F4A7C15) + kind)


@njit(cache=True)
def _subjects(buf, spans, rows):  # type: ignore[no-untyped-def]
    found = np.empty(rows.shape[0], np.uint64)
    for place in range(rows.shape[0]):
        i = rows[place]
        found[place] = _subject_at(buf, spans[i, VIDEO_AT], spans[i, VIDEO_LEN], spans[i, KIND_AT], spans[i, KIND_LEN])
    return found


@njit(cache=True)
def _ids(buf, spans, rows):  # type: ignore[no-untyped-def]
    found = np.empty((rows.shape[0], 2), np.uint64)
    for place in range(rows.shape[0]):
        at = spans[rows[place], START]
        found[place, 0], found[place, 1] = load_u64(buf, at), load_u64(buf, at + 8)
    return found


def subjects_of(buf: Bytes, spans: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Subjects:
    """Return the hashes of video and kind of these events of a batch."""
    found: Subjects = _subjects(buf, spans, rows)
    return found


class Repeats:
    """Collects the repeats of a slice, and judges them when all events of the slice have been read."""

    def __init__(self, rules: CountingSettings) -> None:
        self._rules = rules
        self._parts: list[tuple[Ids, npt.NDArray[np.int64], Subjects]] = []
        self._texts: list[tuple[bytes, bytes]] = []
        self._append_ms: list[int] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(
        self,
        value: bytes,
        spans: npt.NDArray[np.int64],
        viewed_at: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        append_ms: int,
    ) -> None:
        """Add the events in these rows, which are the repeats of a record of this append time."""
        if not len(rows):
            return
        buf = np.frombuffer(value, np.uint8)
        self._parts.append((_ids(buf, spans, rows), viewed_at[rows], subjects_of(buf, spans, rows)))
        self._append_ms.append(append_ms)
        for video_at, video_len, kind_at, kind_len in spans[rows][:, VIDEO_AT : KIND_LEN + 1].tolist():
            self._texts.append((value[video_at : video_at + video_len], value[kind_at : kind_at + kind_len]))

    def ids(self) -> Ids:
        """Return the ids of all repeats."""
        return np.concatenate([np.empty((0, 2), np.uint64), *(ids for ids, *_ in self._parts)])

    def hours(self) -> range:
        """Return the hours in which the events that these repeat may have been viewed.

        They go back as far as dedup keeps seen ids.
        """
        if not self._append_ms:
            return range(0)
        rules = self._rules
        first = min(self._append_ms) - 2 * rules.generation_ms - rules.lateness_ms - MINUTE_MS
        return range(first // HOUR_MS, (max(self._append_ms) + rules.future_skew_ms) // HOUR_MS + 1)

    def judge(self, known: Iterable[SeenIds]) -> tuple[Counter[str], pa.Table]:
        """Return (how many are which Repeat, samples). `known` is read until each id is found: the likeliest first."""
        numbers: Counter[str] = Counter()
        if not self._parts:
            return numbers, SAMPLES.empty_table()
        ids, viewed_ms, subjects = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        found = np.zeros(len(ids), np.int8)
        first_ms = np.zeros(len(ids), np.int64)
        for one in known:
            left = np.nonzero(found == Repeat.NOT_FOUND)[0]
            if not len(left):
                break
            found[left], first_ms[left] = _likeness(ids[left], viewed_ms[left], subjects[left], one)
        # An id that is not found was counted by a slice that is not kept any more, or whose records are missing.
        found[found == Repeat.NOT_FOUND] = Repeat.UNKNOWN
        for repeat, number in zip(*np.unique(found, return_counts=True), strict=True):
            numbers[Repeat(repeat).name.lower()] = int(number)
        tables = [
            self._samples(np.nonzero(found == repeat)[0][:SAMPLES_MAX], repeat, ids, viewed_ms, first_ms)
            for repeat in (Repeat.CONFLICTING, Repeat.RESTAMPED)
        ]
        return numbers, pa.concat_tables(tables)

    def _samples(
        self,
        rows: npt.NDArray[np.int64],
        repeat: Repeat,
        ids: Ids,
        viewed_ms: npt.NDArray[np.int64],
        first_ms: npt.NDArray[np.int64],
    ) -> pa.Table:
        texts = [self._texts[row] for row in rows.tolist()]
        columns = [
            column_of(ids[rows]),
            pa.array(viewed_ms[rows]).cast(_TIME),
            pa.array(first_ms[rows]).cast(_TIME),
            pa.array([video.decode() for video, _ in texts], pa.string()),
            pa.array([kind.decode() for _, kind in texts], pa.string()),
            pa.array([repeat.name.lower()] * len(rows), pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=SAMPLES)


def _likeness(
    ids: Ids, viewed_ms: npt.NDArray[np.int64], subjects: Subjects, known: SeenIds
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Return for each event (Repeat, the time of the most similar event in `known`)."""
    best = np.zeros(len(ids), np.int8)
    first_ms = np.zeros(len(ids), np.int64)
    index = IdIndex()
    index.add_all(ids)
    rows = index.places_in(known.ids)
    keys = _keys(known.ids[rows])
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    wanted = _keys(ids)
    at, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    # Most often this loop runs once, because an id rarely counts twice.
    while len(places := np.nonzero(at < end)[0]):
        row = rows[at[places]]
        like = np.full(len(places), int(Repeat.UNKNOWN), np.int8)
        if known.subjects is not None:
            is_same_subject = known.subjects[row] == subjects[places]
            like[:] = Repeat.CONFLICTING
            like[is_same_subject] = Repeat.RESTAMPED
            like[is_same_subject & (known.viewed_ms[row] == viewed_ms[places])] = Repeat.SAME
        like[(known.ids[row] != ids[places]).any(axis=1)] = Repeat.NOT_FOUND
        better = like > best[places]
        best[places[better]] = like[better]
        first_ms[places[better]] = known.viewed_ms[row[better]]
        at = at + 1
    return best, first_ms


def _keys(ids: Ids) -> npt.NDArray[np.uint64]:
    """Return a number for each id. Different ids may have the same number."""
    keys: npt.NDArray[np.uint64] = ids[:, 0] ^ (ids[:, 1] * np.uint64(0x9E3779B97F4A7C15))
    return keys


def known_of(parts: Sequence[SeenIds]) -> SeenIds:
    """Return all parts together. Each part has subjects."""
    nothing = SeenIds(np.empty((0, 2), np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64))
    all_parts = [nothing, *parts]
    return SeenIds(
        np.concatenate([part.ids for part in all_parts]),
        np.concatenate([part.viewed_ms for part in all_parts]),
        np.concatenate([part.subjects for part in all_parts if part.subjects is not None]),
    )
