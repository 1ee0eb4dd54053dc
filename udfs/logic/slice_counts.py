"""What the records of one slice come to. A slice is what one partition holds between two offsets.

It carries on where the slice before it ended, with dedup's memory, so that every event gets the verdict that the stream
gave it. Besides, late events are added, each once: one is a repeat when its id was counted, or added, with the same
time before, in this slice or an earlier one. Whatever is to be looked up lies by the hour in which it was viewed, since
a repeat in this sense was viewed in the same one. Later than `late_ms_max` after its view an event is not added any
more, nor when it was viewed before `viewed_ms_min`: what it might repeat is forgotten.
"""

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import registry
from schemas.kinds import blocked
from settings import CountingSettings
from udfs.logic.block_list import BlockTable, is_blocked
from udfs.logic.cells import Bytes, merge_dated_rows
from udfs.logic.dedup import Outcome, SaltDedup
from udfs.logic.hashing import hash_bytes
from udfs.logic.id_index import Ids
from udfs.logic.ledger import Tally
from udfs.logic.numba_compat import njit
from udfs.logic.time_rules import HOUR_MS, MINUTE_MS

MINUTES_PER_HOUR = 60
# Rows of batches are merged when there are so many bytes of them.
MERGED_BYTES = 32 << 20
CELLS = pa.schema(
    {
        "shard": pa.int32(),
        "hour": pa.int64(),
        "kind": pa.string(),
        "video_id": pa.string(),
        "minute": pa.int64(),
        "views": pa.int64(),
        "late_added": pa.int64(),
    }
)
_CELL = ["shard", "hour", "kind", "video_id", "minute"]
_SORTED = [(name, "ascending") for name in _CELL]


class SaltMemory(NamedTuple):
    """What dedup of one salt hands on to the next slice."""

    header: bytes
    chunks: list[bytes]


class Known(NamedTuple):
    """Events that count: ids (uint64[n, 2]) and the times of their views in ms, sorted by hour viewed and id."""

    ids: Ids
    viewed_ms: npt.NDArray[np.int64]

    @property
    def hours(self) -> npt.NDArray[np.int64]:
        """The hour in which each was viewed, since 1970."""
        return self.viewed_ms // HOUR_MS


class LateEvent(NamedTuple):
    """One that came after its minute had closed."""

    event_id: bytes
    viewed_ms: int
    append_ms: int
    video_id: str
    kind: str
    viewer_id: str | None


@dataclass(frozen=True)
class SliceCounts:
    """`cells` of schema CELLS, sorted by its columns; `views` are the stream's, `late_added` beside them.

    `late` says what became of the late events: added, repeats, too_old. A tally of a minute that goes on in the next
    slice is whole there.
    """

    cells: pa.Table
    known: Known
    memory: dict[int, SaltMemory]
    tallies: dict[int, list[Tally]]
    late: Counter[str]


class SliceCounter:
    """Counts one slice. Records in the order of their offsets."""

    def __init__(
        self,
        rules: CountingSettings,
        *,
        partition: int,
        partitions: int,
        blocks: BlockTable,
        late_ms_max: int,
        viewed_ms_min: int,
        memory: Mapping[int, SaltMemory],
    ) -> None:
        self._rules = rules
        self._partition = partition
        self._partitions = partitions
        self._blocks = blocks
        self._late_ms_max = late_ms_max
        self._viewed_ms_min = viewed_ms_min
        self._salts: dict[int, SaltDedup] = {}
        for salt, kept in memory.items():
            self._salts[salt] = SaltDedup(salt, rules)
            self._salts[salt].restore(kept.header, kept.chunks, [])
        self._rows: list[Bytes] = []
        self._rows_bytes = 0
        self._merged: list[pa.Table] = []
        self._fresh: list[Ids] = []
        self._fresh_viewed_ms: list[npt.NDArray[np.int64]] = []
        self._late: list[LateEvent] = []
        self._tallies: dict[int, dict[int, Tally]] = {}

    def record(self, key: bytes | None, value: bytes | None, record_ms: int) -> None:
        """Judge one record. Never raises for what the bytes say."""
        dedup = self._of(key)
        outcome = dedup.record(value or b"", record_ms, dedup.salt, self._blocks)
        # What the stream would send is all in the outcome.
        dedup.forget_unsent()
        if outcome.unsent is not None:
            assert outcome.fresh is not None
            assert outcome.fresh_viewed_ms is not None
            self._fresh.append(outcome.fresh)
            self._fresh_viewed_ms.append(outcome.fresh_viewed_ms)
            self._rows.append(outcome.unsent)
            self._rows_bytes += len(outcome.unsent)
            if self._rows_bytes >= MERGED_BYTES:
                self._merge()
        if outcome.late:
            self._late += read_late(outcome)
        mine = self._tallies.setdefault(dedup.salt, {})
        mine.update((tally.minute, tally) for tally in dedup.take_tallies())

    def late_hours(self) -> set[int]:
        """The hours of which `finish` asks what is known."""
        return {event.viewed_ms // HOUR_MS for event in self._late if not self._is_too_old(event)}

    def finish(self, known: Callable[[int], Known]) -> SliceCounts:
        """What it all came to. `known` gives what earlier slices of the partition know of an hour viewed."""
        fresh = _known(self._fresh, self._fresh_viewed_ms)
        added, late = self._add_late(fresh, known)
        self._merge()
        tables = [*self._merged, _late_table(added, self._rules.shards, self._blocks)]
        cells = pa.concat_tables(tables).group_by(_CELL).aggregate([("views", "sum"), ("late_added", "sum")])
        cells = cells.select([*_CELL, "views_sum", "late_added_sum"]).rename_columns(CELLS.names).sort_by(_SORTED)
        return SliceCounts(
            cells=cells,
            known=_sorted(
                _known(
                    [fresh.ids, *(np.frombuffer(event.event_id, np.uint64).reshape(1, 2) for event in added)],
                    [fresh.viewed_ms, np.array([event.viewed_ms for event in added], np.int64)],
                )
            ),
            memory={salt: SaltMemory(dedup.header(), dedup.chunks()) for salt, dedup in sorted(self._salts.items())},
            tallies={salt: list(by_minute.values()) for salt, by_minute in sorted(self._tallies.items())},
            late=late,
        )

    def _add_late(self, fresh: Known, known: Callable[[int], Known]) -> tuple[list[LateEvent], Counter[str]]:
        late: Counter[str] = Counter()
        judged = [event for event in self._late if not self._is_too_old(event)]
        late["too_old"] = len(self._late) - len(judged)
        taken = _among(judged, [fresh, *(known(hour) for hour in sorted(self.late_hours()))])
        added = []
        for event in judged:
            name = event.event_id, event.viewed_ms
            if name in taken:
                late["repeats"] += 1
            else:
                taken.add(name)
                added.append(event)
        late["added"] = len(added)
        return added, late

    def _is_too_old(self, event: LateEvent) -> bool:
        return event.append_ms - event.viewed_ms > self._late_ms_max or event.viewed_ms < self._viewed_ms_min

    def _of(self, key: bytes | None) -> SaltDedup:
        """Of the record's salt; of the partition itself, when it bears none of the partition's, as in the stream."""
        salt = int.from_bytes(key, "big") if key is not None and len(key) == 4 else -1
        if not 0 <= salt < self._rules.salts or salt % self._partitions != self._partition:
            salt = -1 - self._partition
        dedup = self._salts.get(salt)
        if dedup is None:
            dedup = self._salts[salt] = SaltDedup(salt, self._rules)
        return dedup

    def _merge(self) -> None:
        if self._rows:
            self._merged.append(_cells_table(np.concatenate(self._rows), self._rules.shards))
            self._rows, self._rows_bytes = [], 0


_EVENT = registry.numeric_schema("ViewEvent")


def read_late(outcome: Outcome) -> list[LateEvent]:
    """The late events of a record."""
    found = []
    for rejected in outcome.late:
        event: Any = fastavro.schemaless_reader(io.BytesIO(rejected.payload), _EVENT, None)
        found.append(
            LateEvent(
                event["event_id"],
                event["viewed_at"],
                outcome.append_ms,
                event["video_id"],
                event["kind"],
                event["viewer_id"],
            )
        )
    return found


def no_known() -> Known:
    """Nothing."""
    return Known(np.empty((0, 2), np.uint64), np.empty(0, np.int64))


def _known(ids: Sequence[Ids], viewed_ms: Sequence[npt.NDArray[np.int64]]) -> Known:
    nothing = no_known()
    return Known(np.concatenate([nothing.ids, *ids]), np.concatenate([nothing.viewed_ms, *viewed_ms]))


def _sorted(known: Known) -> Known:
    order = np.lexsort((known.viewed_ms, known.ids[:, 1], known.ids[:, 0], known.hours))
    return Known(known.ids[order], known.viewed_ms[order])


def _among(events: Sequence[LateEvent], known: Sequence[Known]) -> set[tuple[bytes, int]]:
    """Which of these (id, time) are known."""
    wanted = {(event.event_id, event.viewed_ms) for event in events}
    if not wanted:
        return set()
    halves = np.unique(np.frombuffer(b"".join(name[:8] for name, _ in wanted), np.uint64))
    found = set()
    for one in known:
        # Half an id leaves few, and those are looked at whole.
        for row in np.nonzero(np.isin(one.ids[:, 0], halves))[0].tolist():
            found.add((one.ids[row].tobytes(), int(one.viewed_ms[row])))
    return found & wanted


@njit(cache=True)
def _split_keys(buf, key_at, key_len):  # type: ignore[no-untyped-def]
    """Kinds and videos of keys, each as (the end of each, with a 0 before the first; their bytes one after another)."""
    n = key_at.shape[0]
    kind_ends = np.zeros(n + 1, np.int32)
    video_ends = np.zeros(n + 1, np.int32)
    for i in range(n):
        kind_len = np.int64(buf[key_at[i]])
        kind_ends[i + 1] = kind_ends[i] + kind_len
        video_ends[i + 1] = video_ends[i] + key_len[i] - 1 - kind_len
    kinds = np.empty(kind_ends[n], np.uint8)
    videos = np.empty(video_ends[n], np.uint8)
    for i in range(n):
        at = key_at[i] + 1
        for j in range(kind_ends[i], kind_ends[i + 1]):
            kinds[j] = buf[at]
            at += 1
        for j in range(video_ends[i], video_ends[i + 1]):
            videos[j] = buf[at]
            at += 1
    return kind_ends, kinds, video_ends, videos


def _strings(ends: npt.NDArray[np.int32], content: Bytes) -> pa.Array:
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(content))


def _cells_table(rows: Bytes, shards: int) -> pa.Table:
    """Dated rows, merged, as a table of schema CELLS."""
    key_at, key_len, minutes, counts, shard = merge_dated_rows(rows, shards)
    kind_ends, kinds, video_ends, videos = _split_keys(rows, key_at, key_len)
    return pa.table(
        {
            "shard": shard.astype(np.int32),
            "hour": minutes // MINUTES_PER_HOUR,
            "kind": _strings(kind_ends, kinds),
            "video_id": _strings(video_ends, videos),
            "minute": minutes,
            "views": counts,
            "late_added": np.zeros(len(counts), np.int64),
        },
        schema=CELLS,
    )


def shard_of(video_id: bytes, shards: int) -> int:
    """The shard that counts a video, as the stream has it."""
    return int(hash_bytes(np.frombuffer(video_id, np.uint8), 0, len(video_id)) % shards)


def _late_table(added: Sequence[LateEvent], shards: int, blocks: BlockTable) -> pa.Table:
    counts: Counter[tuple[str, str, int]] = Counter()
    for event in added:
        viewer = np.frombuffer((event.viewer_id or "").encode(), np.uint8)
        kind = blocked(event.kind) if is_blocked(viewer, 0, len(viewer), event.append_ms, *blocks) else event.kind
        counts[kind, event.video_id, event.viewed_ms // MINUTE_MS] += 1
    rows = [
        (shard_of(video.encode(), shards), minute // MINUTES_PER_HOUR, kind, video, minute, 0, n)
        for (kind, video, minute), n in counts.items()
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(CELLS)
    return pa.table(dict(zip(CELLS.names, map(list, columns), strict=True)), schema=CELLS)
