"""Deduplication of one salt: judges every event once, remembers seen ids, and sends partial counts.

A `SaltDedup` holds what is in memory for one key. Its methods return what the caller must put into state: chunks of
ids, which may be dropped with their generation; counts that are not sent yet, which may not; and a header. `restore`
rebuilds the object from these, so nothing exists in memory alone. Tables that exceed a budget lie in files
(udfs.logic.kernels.memory_budget), which changes no verdict. The rules are those of docs/architecture.md.
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

# The version of the header. Tallies of version 1 are shorter. Chunks have a version of their own.
VERSION = 2
CHUNK_VERSION = 1
_CHUNK = struct.Struct("<Bq")
_HEADER = struct.Struct("<Bqqq")
NEVER_MS = -(1 << 62)
# So many events are judged before the pages of tables in files are released. Each event may load two stretches of
# 64 KiB.
EVENTS_AT_ONCE = 256
RESTORED_AT_ONCE = 1 << 14


class Verdict(IntEnum):
    """The fate of an event, in the order in which the rules are applied."""

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
    """Return (verdicts, new ids, viewed_at of each new id, whether the zero id is in `current` now, an unused number).

    The ids of blocked events are remembered too, so that a repeat of one is a duplicate.
    """
    slots_of_viewers, arena, name_at, period_at, periods = blocks
    any_blocked = name_at.shape[0] > 1
    n = spans.shape[0]
    verdicts = np.empty(n, np.uint8)
    fresh = np.empty((n, 2), np.uint64)
    fresh_at = np.empty(n, np.int64)
    fresh_n = 0
    # The tables are larger than any cache. This loop reads all slots first, so that the processor loads them side by
    # side. The loop below would wait for one after the other.
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
    # `seen` is returned, or the compiler would leave out the loop that makes it.
    return verdicts, fresh[:fresh_n], fresh_at[:fresh_n], current_zero, seen


@njit(cache=True)
def _count(buf, spans, viewed_at, verdicts):  # type: ignore[no-untyped-def]
    """Return the counted and the blocked events as dated rows. Blocked ones have a kind of their own."""
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
    """An event that was not counted: its index in the batch (-1 for the whole record), the reason, and its bytes."""

    index: int
    reason: str
    payload: bytes


@dataclass
class Outcome:
    """The result of judging one record.

    The caller puts `chunk`, if there is one, into the state of `generation` under `sequence`, and appends `unsent` to
    the state's list of counts, which the next flush sends and then clears. `fresh` are the ids in the chunk
    (uint64[n, 2]), `fresh_viewed_ms` the times at which their events were viewed. If the record had events, `batch` is
    the scan and `verdicts` has a Verdict for each of them.
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
    """The elements (udfs.logic.minutes.partials) to send now, by shard."""

    elements: dict[int, bytes]


class SaltDedup:
    """Deduplicates the events of one salt. Not thread-safe. Results depend only on the arguments of all calls so far.

    With `sends=False` it makes no counts, for callers that count by the outcomes and never flush.
    """

    def __init__(self, salt: int, rules: CountingSettings, *, sends: bool = True, budget: Budget | None = None) -> None:
        self._budget = budget
        self._sends = sends
        self.salt = salt
        self._rules = rules
        self.append_ms = NEVER_MS
        self.sequence = 0
        self.sent_minute = NEVER_MS // MINUTE_MS
        # The tally of the current minute of append time is last. Before it are those of ended minutes that have not
        # been taken yet.
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
        """Return the header, which must be stored beside the chunks after every record and every flush."""
        head = _HEADER.pack(VERSION, self.append_ms, self.sequence, self.sent_minute)
        return head + b"".join(tally.encode() for tally in self.tallies)

    def restore(self, header: bytes, chunks: Iterable[bytes], unsent: Iterable[bytes]) -> None:
        """Take over the state that was stored. Raises ValueError for a version that this code does not know."""
        version, self.append_ms, self.sequence, self.sent_minute = _HEADER.unpack_from(header)
        if version not in range(1, VERSION + 1):
            raise ValueError(f"dedup state of version {version}, this code reads up to {VERSION}: use newer code")
        self.tallies = Tally.decode_all(header[_HEADER.size :], version=1 if version == 1 else 2)
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
        """Return all seen ids, for `restore`. They are those in the chunks of all outcomes so far."""
        generations = ((self.generation - 1, self._previous), (self.generation, self._current))
        return [_CHUNK.pack(CHUNK_VERSION, generation) + index.ids().tobytes() for generation, index in generations]

    def judge(self, value: bytes, record_ms: int, key_salt: int, blocks: BlockTable = NOBODY) -> Outcome:
        """Judge the value of one Kafka record. No content makes it raise.

        `record_ms` is the record's timestamp; `key_salt` is the salt that its key names, below 0 if it names none.
        `blocks` must hold every period that can contain the record's append time.
        """
        buf = np.frombuffer(value, np.uint8)
        batch = scan(buf, key_salt, self._rules.salts)
        ahead_ms = self._rules.clock_ahead_ms
        if not isinstance(batch, Unreadable):
            self._advance(append_time(record_ms, batch.produced_ms, self.append_ms, ahead_ms))
        elif key_salt < 0:
            # Only the record's timestamp says when it arrived. No frontier and no seen id depends on it.
            self._advance(max(self.append_ms, record_ms))
        # A salt has no time before its first record that says when it was made.
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
        # While the salt has no time, every event is in the future.
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
        """Return all counts that are not sent yet, merged, by shard.

        Once in each minute of append time, every shard gets an element, so that it learns the frontier.
        """
        elements: dict[int, bytes] = {}
        if self._unsent:
            elements = partials.encode(self.salt, self.append_ms, np.concatenate(self._unsent), self._rules.shards)
            self._unsent = []
        if self.append_ms > NEVER_MS and self.append_ms // MINUTE_MS > self.sent_minute:
            self.sent_minute = self.append_ms // MINUTE_MS
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
        """Return every tally that may have changed since the last call. Tallies of ended minutes are then dropped."""
        taken = self.tallies
        self.tallies = taken[-1:]
        return taken

    def _tally_of(self, minute: int) -> Tally:
        if not self.tallies or self.tallies[-1].minute != minute:
            self.tallies.append(Tally(minute))
        return self.tallies[-1]
