"""Deduplication of one salt: judges every event once, remembers the ids it counted, hands on partial counts.

A `SaltDedup` is the memory of one key. What must survive it is returned to be stored: chunks of ids, which may go with
their generation, the counts not sent yet, which may not, and a header. `restore` rebuilds it from them, so that nothing
lives in memory alone. Tables beyond a budget lie in files (udfs.logic.kernels.memory_budget), which changes no verdict.
The rules are those of docs/architecture.md.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from settings import CountingSettings
from settings.durations import MINUTE_MS
from udfs.logic.kernels.hashing import quick_hash
from udfs.logic.kernels.id_index import IdIndex, Ids, contains, insert, slot_of
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.kernels.numba_compat import load_u64, njit
from udfs.logic.minutes import partials
from udfs.logic.minutes.cells import put_bytes, put_uint, same_bytes, slots_for
from udfs.logic.stream.block_table import NOBODY, BlockTable, is_blocked
from udfs.logic.stream.ledger import Tally
from udfs.logic.stream.time_rules import append_time, is_clamped, is_invalid, is_late
from udfs.logic.wire.batch_scan import BLOCKED_PREFIX_BYTES, Fault, Scan, Unreadable, scan

# Of the header. Tallies of version 1 are shorter. Chunks have a version of their own.
VERSION = 2
CHUNK_VERSION = 1
_CHUNK = struct.Struct("<Bq")
_HEADER = struct.Struct("<Bqqq")
NEVER_MS = -(1 << 62)
# Judged before the pages of tables in files are let go of. Each event may bring in two stretches of 64 KiB.
EVENTS_AT_ONCE = 256
RESTORED_AT_ONCE = 1 << 14


class Verdict(IntEnum):
    """What became of an event, in the order of judgement."""

    DEAD_LETTERED = 0
    INVALID = 1
    LATE = 2
    DUPLICATE = 3
    BLOCKED = 4
    COUNTED = 5


# An odd number, so that a video and a kind of the same name do not cancel each other.
_OF_KIND = np.uint64(0x9E3779B97F4A7C15)
_DEAD, _INVALID, _LATE, _DUPLICATE, _BLOCKED, _COUNTED = (int(v) for v in Verdict)


@njit(cache=True)
def _judge(  # type: ignore[no-untyped-def]
    buf, spans, viewed_at, faults, append, lateness, skew, previous, previous_zero, current, current_zero, blocks
):  # fmt: skip
    """(verdicts, new ids, the times of their views, whether the zero id is in `current` now, nothing).

    The ids of blocked views are remembered too: a repeat of one is a duplicate.
    """
    slots_of_viewers, arena, name_at, period_at, periods = blocks
    any_blocked = name_at.shape[0] > 1
    n = spans.shape[0]
    verdicts = np.empty(n, np.uint8)
    fresh = np.empty((n, 2), np.uint64)
    fresh_at = np.empty(n, np.int64)
    fresh_n = 0
    # The tables are larger than any cache. Looked at once beforehand, their slots come in side by side, where the loop
    # below would wait for one after the other.
    previous_slots, current_slots = np.uint64(previous.shape[0]), np.uint64(current.shape[0])
    seen = np.uint64(0)
    for i in range(n):
        low, high = load_u64(buf, spans[i, 0]), load_u64(buf, spans[i, 0] + 8)
        seen ^= previous[slot_of(low, high, previous_slots), 0] ^ current[slot_of(low, high, current_slots), 0]
    for i in range(n):
        if faults[i] != 0:
            verdicts[i] = _DEAD
            continue
        if is_invalid(viewed_at[i], append, skew):
            verdicts[i] = _INVALID
            continue
        if is_late(viewed_at[i], append, lateness):
            verdicts[i] = _LATE
            continue
        low = load_u64(buf, spans[i, 0])
        high = load_u64(buf, spans[i, 0] + 8)
        if low == 0 and high == 0:
            new = not previous_zero and not current_zero
            current_zero = current_zero or new
        else:
            new = not contains(previous, low, high) and insert(current, low, high)
        if not new:
            verdicts[i] = _DUPLICATE
            continue
        verdict = _COUNTED
        if any_blocked and is_blocked(
            buf, spans[i, 6], spans[i, 7], append, slots_of_viewers, arena, name_at, period_at, periods
        ):
            verdict = _BLOCKED
        verdicts[i] = verdict
        fresh[fresh_n, 0] = low
        fresh[fresh_n, 1] = high
        fresh_at[fresh_n] = viewed_at[i]
        fresh_n += 1
    # `seen` goes along, or the compiler would leave out what it was made of.
    return verdicts, fresh[:fresh_n], fresh_at[:fresh_n], current_zero, seen


@njit(cache=True)
def _count(buf, spans, viewed_at, verdicts):  # type: ignore[no-untyped-def]
    """The views that count as dated rows; those of blocked viewers under a kind of their own."""
    n = spans.shape[0]
    slots = np.full(slots_for(n), -1, np.int32)
    mask = np.uint64(slots.shape[0] - 1)
    cell_event = np.empty(n, np.int32)
    cell_count = np.zeros(n, np.int64)
    cells = 0
    row_bytes = 0
    for i in range(n):
        verdict = verdicts[i]
        if verdict < _BLOCKED:
            continue
        minute = viewed_at[i] // MINUTE_MS
        video_at, video_len, kind_at, kind_len = spans[i, 2], spans[i, 3], spans[i, 4], spans[i, 5]
        slot = quick_hash(buf, video_at, video_len) ^ (quick_hash(buf, kind_at, kind_len) * _OF_KIND)
        slot = (slot ^ np.uint64(minute + verdict)) & mask
        while True:
            cell = slots[slot]
            if cell < 0:
                slots[slot] = cells
                cell_event[cells] = i
                cell_count[cells] = 1
                cells += 1
                row_bytes += 14 + kind_len + video_len
                if verdict == _BLOCKED:
                    row_bytes += BLOCKED_PREFIX_BYTES.shape[0]
                break
            e = cell_event[cell]
            if (
                verdicts[e] == verdict
                and viewed_at[e] // MINUTE_MS == minute
                and spans[e, 3] == video_len
                and spans[e, 5] == kind_len
                and same_bytes(buf, spans[e, 2], buf, video_at, video_len)
                and same_bytes(buf, spans[e, 4], buf, kind_at, kind_len)
            ):
                cell_count[cell] += 1
                break
            slot = (slot + np.uint64(1)) & mask
    rows = np.empty(row_bytes, np.uint8)
    at = 0
    for cell in range(cells):
        e = cell_event[cell]
        prefix_len = BLOCKED_PREFIX_BYTES.shape[0] if verdicts[e] == _BLOCKED else 0
        rows[at] = 1 + prefix_len + spans[e, 5] + spans[e, 3]
        rows[at + 1] = prefix_len + spans[e, 5]
        at += 2
        at = put_bytes(rows, at, BLOCKED_PREFIX_BYTES, 0, prefix_len)
        at = put_bytes(rows, at, buf, spans[e, 4], spans[e, 5])
        at = put_bytes(rows, at, buf, spans[e, 2], spans[e, 3])
        at = put_uint(rows, at, viewed_at[e] // MINUTE_MS, 8)
        at = put_uint(rows, at, cell_count[cell], 4)
    return rows


@dataclass(frozen=True)
class Rejected:
    """An event not counted: its place in the batch (-1: the whole record), why, and its bytes."""

    index: int
    reason: str
    payload: bytes


@dataclass
class Outcome:
    """What one record led to.

    `chunk`, if there is one, goes to the state of `generation` under `sequence`, and `unsent` to the list of what the
    next flush sends and the state then forgets. `fresh` are the ids in the chunk (uint64[n, 2]), `fresh_viewed_ms` the
    times of their views. `batch` and `verdicts` (of Verdict, by event) are there when the record had events.
    """

    generation: int
    sequence: int
    append_ms: int
    batch_id: bytes | None = None
    chunk: bytes | None = None
    unsent: Bytes | None = None
    fresh: Ids | None = None
    fresh_viewed_ms: npt.NDArray[np.int64] | None = None
    batch: Scan | None = None
    verdicts: npt.NDArray[np.uint8] | None = None
    late: list[Rejected] = field(default_factory=list)
    dead: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class Flush:
    """What goes to the shards now: an element by shard."""

    elements: dict[int, bytes]


class SaltDedup:
    """One salt's dedup. Not thread-safe; every method is deterministic in its arguments and the history.

    One that sends nothing counts nothing: for whoever counts by the outcomes, and never flushes.
    """

    def __init__(self, salt: int, rules: CountingSettings, *, sends: bool = True, budget: Budget | None = None) -> None:
        self._budget = budget
        self._sends = sends
        self.salt = salt
        self._rules = rules
        self.append_ms = NEVER_MS
        self.sequence = 0
        self.told_minute = NEVER_MS // MINUTE_MS
        # Of the current minute of arrival, last, and of those before it that were not handed on as final.
        self.tallies: list[Tally] = []
        self._current = IdIndex(budget)
        self._previous = IdIndex(budget)
        self._previous.is_past = True
        self._unsent: list[Bytes] = []

    @property
    def generation(self) -> int:
        """The generation of the last append time."""
        return self.append_ms // self._rules.generation_ms

    def header(self) -> bytes:
        """What must be stored beside the chunks after every record and every flush."""
        head = _HEADER.pack(VERSION, self.append_ms, self.sequence, self.told_minute)
        return head + b"".join(tally.encode() for tally in self.tallies)

    def restore(self, header: bytes, chunks: Iterable[bytes], unsent: Iterable[bytes]) -> None:
        """Become what stored these. ValueError for a version unknown to this code."""
        version, self.append_ms, self.sequence, self.told_minute = _HEADER.unpack_from(header)
        if version not in (1, VERSION):
            raise ValueError(f"dedup state of version {version}, this code reads up to {VERSION}: use newer code")
        self.tallies = Tally.decode_all(header[_HEADER.size :], version=version)
        held = 0
        for chunk in chunks:
            version, generation = _CHUNK.unpack_from(chunk)
            if version != CHUNK_VERSION:
                raise ValueError(f"dedup ids of version {version}, this code reads {CHUNK_VERSION}: use newer code")
            ids = np.frombuffer(chunk, np.uint64, -1, _CHUNK.size).reshape(-1, 2)
            if generation == self.generation:
                self._current.add_all(ids)
            elif generation == self.generation - 1:
                self._previous.add_all(ids)
            held += len(ids)
            if held > RESTORED_AT_ONCE:
                held = 0
                self._let_go()
        self._let_go()
        self._unsent = [np.frombuffer(rows, np.uint8) for rows in unsent]

    def chunks(self) -> list[bytes]:
        """All ids that are remembered, for `restore`: what the chunks of every outcome so far come to."""
        generations = ((self.generation - 1, self._previous), (self.generation, self._current))
        return [_CHUNK.pack(CHUNK_VERSION, generation) + index.ids().tobytes() for generation, index in generations]

    def record(self, value: bytes, record_ms: int, key_salt: int, blocks: BlockTable = NOBODY) -> Outcome:
        """Judge one Kafka record's value. Never raises for what the bytes say.

        `blocks` must hold every period that can contain the record's append time.
        """
        buf = np.frombuffer(value, np.uint8)
        batch = scan(buf, key_salt, self._rules.salts)
        ahead_ms = self._rules.clock_ahead_ms
        if not isinstance(batch, Unreadable):
            self._advance(append_time(record_ms, batch.produced_ms, self.append_ms, ahead_ms))
        elif key_salt < 0:
            # No frontier and no id hangs on when it came, and nothing but its stamp says it.
            self._advance(max(self.append_ms, record_ms))
        # Before a salt's first record that says when it was made it has no time.
        append_ms = max(self.append_ms, 0)
        outcome = Outcome(self.generation, self.sequence, append_ms)
        tally = self._tally_of(append_ms // MINUTE_MS)
        tally.records += 1
        if isinstance(batch, Unreadable):
            tally.unreadable_records += 1
            outcome.dead.append(Rejected(-1, batch.name.lower(), value))
            return outcome
        tally.clamped_records += is_clamped(record_ms, batch.produced_ms, ahead_ms)
        outcome.batch_id = batch.batch_id
        if len(batch.spans):
            self._events(value, buf, batch, tally, outcome, blocks)
        return outcome

    def _events(
        self, value: bytes, buf: Bytes, batch: Scan, tally: Tally, outcome: Outcome, blocks: BlockTable
    ) -> None:
        self._current.reserve(len(batch.spans))
        # Whatever comes before the salt has a time lies ahead of it.
        skew_ms = self._rules.future_skew_ms if self.append_ms > NEVER_MS else NEVER_MS // 2
        is_in_file = self._current.is_in_file or self._previous.is_in_file
        step = EVENTS_AT_ONCE if is_in_file else len(batch.spans)
        parts = []
        for at in range(0, len(batch.spans), step):
            *part, self._current.zero, _ = _judge(
                buf, batch.spans[at : at + step], batch.viewed_at[at : at + step], batch.faults[at : at + step],
                self.append_ms, self._rules.lateness_ms, skew_ms, self._previous.table, self._previous.zero,
                self._current.table, self._current.zero, blocks,
            )  # fmt: skip
            parts.append(part)
            self._let_go()
        verdicts, fresh, fresh_at = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        self._current.used += len(fresh)
        outcome.batch, outcome.verdicts = batch, verdicts
        counts = np.bincount(verdicts, minlength=len(Verdict)).tolist()
        tally.received += len(verdicts)
        tally.counted += counts[Verdict.COUNTED]
        tally.duplicate += counts[Verdict.DUPLICATE]
        tally.late += counts[Verdict.LATE]
        tally.invalid += counts[Verdict.INVALID]
        tally.blocked += counts[Verdict.BLOCKED]
        tally.dead_lettered += counts[Verdict.DEAD_LETTERED]
        if len(fresh):
            outcome.chunk = _CHUNK.pack(CHUNK_VERSION, self.generation) + fresh.tobytes()
            outcome.fresh, outcome.fresh_viewed_ms = fresh, fresh_at
            if self._sends:
                outcome.unsent = _count(buf, batch.spans, batch.viewed_at, verdicts)
                self._unsent.append(outcome.unsent)
            self.sequence += 1
        if sum(counts[: Verdict.DUPLICATE]):
            self._reject(value, batch, verdicts, outcome)

    @staticmethod
    def _reject(value: bytes, batch: Scan, verdicts: npt.NDArray[np.uint8], outcome: Outcome) -> None:
        for index in np.nonzero(verdicts < Verdict.DUPLICATE)[0].tolist():
            verdict = verdicts[index]
            if verdict == Verdict.DEAD_LETTERED:
                reason = Fault(batch.faults[index]).name.lower()
            else:
                reason = "viewed_at_in_the_future" if verdict == Verdict.INVALID else "late"
            start, end = batch.spans[index, :2].tolist()
            target = outcome.late if verdict == Verdict.LATE else outcome.dead
            target.append(Rejected(index, reason, value[start:end]))

    def flush(self) -> Flush:
        """Everything unsent, merged, by shard; and the frontier to every shard once a minute of append time."""
        elements: dict[int, bytes] = {}
        if self._unsent:
            elements = partials.encode(self.salt, self.append_ms, np.concatenate(self._unsent), self._rules.shards)
            self._unsent = []
        if self.append_ms > NEVER_MS and self.append_ms // MINUTE_MS > self.told_minute:
            self.told_minute = self.append_ms // MINUTE_MS
            frontier = partials.encode_frontier(self.salt, self.append_ms)
            elements = {shard: elements.get(shard, frontier) for shard in range(self._rules.shards)}
        return Flush(elements)

    def _advance(self, append_ms: int) -> None:
        before = self.generation
        self.append_ms = append_ms
        if self.generation == before + 1:
            self._previous.forget()
            self._previous, self._current = self._current, IdIndex(self._budget)
            self._previous.is_past = True
        elif self.generation > before:
            self._previous.forget()
            self._current.forget()
            self._previous, self._current = IdIndex(self._budget), IdIndex(self._budget)
            self._previous.is_past = True

    def _let_go(self) -> None:
        self._previous.let_go()
        self._current.let_go()

    def take_tallies(self) -> list[Tally]:
        """Every tally that may have changed since the last call. Those of ended minutes are then forgotten."""
        taken = self.tallies
        self.tallies = taken[-1:]
        return taken

    def _tally_of(self, minute: int) -> Tally:
        if not self.tallies or self.tallies[-1].minute != minute:
            self.tallies.append(Tally(minute))
        return self.tallies[-1]
