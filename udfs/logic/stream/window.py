"""Tumbling one-minute windows of one shard: sums partial counts, emits absolute counts, closes minutes.

A minute closes when every salt's frontier has passed its end plus the lateness. Closed minutes are kept for two hours,
for top lists. As in dedup, methods return what the caller must put into state, and `restore` rebuilds the object.

A checkpoint may be taken when counts were emitted but not written yet. So open cells are emitted again after a restore,
and tallies are kept until the next emission. The caller must finish writing an emission before it writes the next. So a
shard that has emitted anything has work once more: an emission by which it learns that all is written.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from schemas.kinds import blocked
from settings import CountingSettings
from settings.durations import MINUTE_MS
from settings.kept import variable
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.minutes import partials
from udfs.logic.minutes.cells import MinuteCells
from udfs.logic.minutes.closed_minutes import ClosedMinute
from udfs.logic.ranking.hour_ranking import rank_hour
from udfs.logic.ranking.lists import Ranked, most_viewed, summed
from udfs.logic.stream.kept_settings import SettingsRefusedError
from udfs.logic.stream.ledger import Tally
from udfs.logic.stream.time_rules import last_closed_minute

# Version 1 has no tallies after the frontiers; the tallies of version 2 are shorter.
VERSION = 3
_HEADER = struct.Struct("<Bqq")
_SALT = struct.Struct("<h")
SEQUENCE_BITS = 32
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
SPAN_MINUTES = 60
SALTS_MAX = 4096
# About the year 10000. A larger number is not a time.
FRONTIER_MS_MAX = 1 << 48


class ClosedMinuteError(RuntimeError):
    """A partial count came for a closed minute. No input can cause this: it is an error of the program."""


@dataclass(frozen=True)
class Emission:
    """What to write and what to do with the state.

    `counts` are absolute counts (dated rows of udfs.logic.minutes.cells), `tallies` are (salt, tally). `dropped` are
    keys of chunks to remove from state, `stored` are chunks to put. `closed_through`, if not None, is the last closed
    minute, to be published once all that was emitted so far is written. `settle` says that nothing new is emitted, and
    that all that was emitted must be written now.
    """

    counts: list[bytes]
    tallies: list[tuple[int, Tally]]
    settle: bool
    dropped: list[int]
    stored: list[tuple[int, bytes]]
    closed_through: int | None


@dataclass(frozen=True)
class Ranking:
    """The shard's lists by kind of one span: of a "minute", or "hour" and "trending" of the hour that ends with it.

    `kinds` is the list of kinds (udfs.logic.ranking.lists.Lists), which is empty if each kind has a list. `events` is
    the number of events in the span and, for "trending", in the span before. For one span and minute it only grows.
    """

    span: str
    minute: int
    events: int
    lists: dict[bytes, list[Ranked]]
    kinds: list[Ranked] = field(default_factory=list)


class ShardWindow:
    """The open and the closed minutes of one shard. Not thread-safe."""

    def __init__(self, rules: CountingSettings, budget: Budget | None = None) -> None:
        self._rules = rules
        self._budget = budget
        self._declared = [name.encode() for kind in rules.declared_kinds for name in (kind, blocked(kind))]
        self._frontiers = np.zeros(rules.salts, np.int64)
        # With a budget some minutes lie in files (kernels/memory_budget.py), which changes nothing that is emitted.
        self._open: dict[int, MinuteCells] = {}
        self._closed: dict[int, ClosedMinute] = {}
        self._closed_cells = 0
        self._chunks: dict[int, list[int]] = {}
        self._changed: set[int] = set()
        self._unranked: set[int] = set()
        self._hour_ranked_at = -1
        self._final_hour_ranked_at = -1
        self._sequence = 0
        # By salt and minute, the tallies that are not emitted yet and those that were emitted last. The third is both
        # as the header holds them, or None when it must be made again.
        self._tallies: dict[tuple[int, int], Tally] = {}
        self._tallies_out: dict[tuple[int, int], Tally] = {}
        self._packed_tallies: bytes | None = None
        self._is_unsettled = False
        self.closed_through = -1

    @property
    def has_work(self) -> bool:
        """Whether `emit` would return anything."""
        return bool(self._changed or self._tallies) or self._is_unsettled or self._closable() > self.closed_through

    @property
    def has_unranked(self) -> bool:
        """Whether `rank` would return anything new."""
        return (
            bool(self._unranked)
            or self._newest_minute > self._hour_ranked_at
            or self.closed_through > self._final_hour_ranked_at
        )

    @property
    def _newest_minute(self) -> int:
        return self.newest_append_ms // MINUTE_MS

    @property
    def newest_append_ms(self) -> int:
        """The latest append time that any salt has reported."""
        return int(self._frontiers.max())

    def header(self) -> bytes:
        """Return the header, which must be stored beside the chunks after every element and every emission."""
        if self._packed_tallies is None:
            tallies = {**self._tallies_out, **self._tallies}
            self._packed_tallies = b"".join(_SALT.pack(salt) + tally.encode() for (salt, _), tally in tallies.items())
        head = _HEADER.pack(VERSION, self._sequence, self.closed_through)
        return head + self._frontiers.tobytes() + self._packed_tallies

    def restore(self, header: bytes, chunks: Iterable[tuple[int, bytes]]) -> None:
        """Take over the state that was stored. Every open cell is emitted and every minute is ranked again.

        Raises ValueError for a version that this code does not know, SettingsRefusedError for another number of salts.
        """
        version, self._sequence, self.closed_through = _HEADER.unpack_from(header)
        if version not in range(1, VERSION + 1):
            raise ValueError(f"window state of version {version}, this code reads up to {VERSION}: use newer code")
        _check_salts(header, version, self._rules.salts)
        self._frontiers = np.frombuffer(header, np.int64, self._rules.salts, _HEADER.size).copy()
        at = _HEADER.size + self._frontiers.nbytes
        tally_version = _tally_version(version)
        while at < len(header):
            (salt,) = _SALT.unpack_from(header, at)
            end = at + _SALT.size + Tally.size(tally_version)
            self.absorb_tallies(salt, Tally.decode_all(header[at + _SALT.size : end], version=tally_version))
            at = end
        for key, rows in chunks:
            self._add(key >> SEQUENCE_BITS, key, np.frombuffer(rows, np.uint8))

    def absorb(self, element: bytes) -> list[tuple[int, bytes]]:
        """Add one element. Return the chunks to store, as (state key, bytes). Raises ClosedMinuteError."""
        partial = partials.decode(element)
        stored = []
        for minute, rows in partial.rows_by_minute.items():
            if minute <= self.closed_through:
                raise ClosedMinuteError(
                    f"salt {partial.salt} sent counts for minute {minute}, closed through {self.closed_through}"
                )
            key = self._next_key(minute)
            self._add(minute, key, rows)
            stored.append((key, rows.tobytes()))
        self._frontiers[partial.salt] = max(int(self._frontiers[partial.salt]), partial.frontier_ms)
        return stored

    def absorb_tallies(self, salt: int, tallies: Iterable[Tally]) -> None:
        """Take the absolute tallies of a salt. They are kept in the header."""
        for tally in tallies:
            self._tallies[salt, tally.minute] = tally
        self._packed_tallies = None

    def emit(self) -> Emission:
        """Return what has changed since the last call, and close the minutes that every salt has passed.

        The caller must write what the last call returned before what this call returns.
        """
        counts = self._take_changed()
        self._tallies_out, self._tallies = self._tallies, {}
        self._packed_tallies = None
        tallies = [(salt, tally) for (salt, _), tally in self._tallies_out.items()]
        is_new = bool(counts or tallies)
        settle = self._is_unsettled and not is_new
        self._is_unsettled = is_new
        closable = self._closable()
        if closable <= self.closed_through:
            return Emission(counts, tallies, settle, [], [], None)
        dropped: list[int] = []
        stored = []
        gone = closable - 2 * SPAN_MINUTES
        for minute in [m for m in (*self._closed, *self._open) if m <= gone and m not in self._unranked]:
            self._forget(minute)
            dropped += self._chunks.pop(minute)
        for minute in [m for m in self._open if m <= closable]:
            # From here on the minute is one chunk.
            dropped += self._chunks[minute]
            key = self._next_key(minute)
            self._chunks[minute] = [key]
            rows = self._open[minute].rows()
            stored.append((key, rows.tobytes()))
            self._forget(minute)
            self._close(minute, rows)
        self.closed_through = closable
        return Emission(counts, tallies, settle, dropped, stored, closable)

    def rank(self) -> list[Ranking]:
        """Rank changed minutes, the hour that ends now, and the hour that ends with the last closed minute."""
        self._is_unsettled = True
        found = []
        for minute in sorted(self._unranked & (self._open.keys() | self._closed.keys())):
            cells = self._open[minute] if minute in self._open else summed([self._closed[minute].rows()])
            found.append(Ranking("minute", minute, cells.events, *most_viewed(cells, self._declared)))
            cells.let_go()
        self._unranked.clear()
        # Open minutes are ranked as they are now.
        minutes = self._closed | {m: ClosedMinute(cells.rows(), self._budget, m) for m, cells in self._open.items()}
        if self.closed_through > self._final_hour_ranked_at:
            self._final_hour_ranked_at = self.closed_through
            found += self._rank_hour(minutes, self.closed_through)
        self._hour_ranked_at = self._newest_minute
        found += self._rank_hour(minutes, self._newest_minute)
        for minute in self._open:
            minutes[minute].forget()
        return found

    @property
    def cells_to_rank(self) -> int:
        """About how many cells `rank` reads."""
        return self._closed_cells + sum(map(len, self._open.values()))

    def _rank_hour(self, minutes: dict[int, ClosedMinute], last: int) -> list[Ranking]:
        span, before = (
            [minutes[m] for m in range(end - SPAN_MINUTES + 1, end + 1) if m in minutes]
            for end in (last, last - SPAN_MINUTES)
        )
        most, growing = rank_hour(span, before, self._declared)
        events, events_before = (sum(minute.events for minute in some) for some in (span, before))
        return [Ranking("hour", last, events, *most), Ranking("trending", last, events + events_before, *growing)]

    def _take_changed(self) -> list[bytes]:
        """Return changed cells. Each element holds several minutes, since the sink writes many rows as fast as one."""
        rows_max = self._rules.rows_per_element_max
        elements: list[list[Bytes]] = []
        room = 0
        for minute in sorted(self._changed):
            for number, rows in self._open[minute].take_changed(minute, rows_max):
                if number > room:
                    elements.append([])
                    room = rows_max
                elements[-1].append(rows)
                room -= number
        self._changed.clear()
        return [np.concatenate(parts).tobytes() for parts in elements]

    def _closable(self) -> int:
        return int(last_closed_minute(int(self._frontiers.min()), self._rules.lateness_ms))

    def _add(self, minute: int, key: int, rows: Bytes) -> None:
        self._chunks.setdefault(minute, []).append(key)
        self._unranked.add(minute)
        if minute <= self.closed_through:
            # It comes from state, where a closed minute is one chunk. If there are more chunks, they are added up.
            if minute in self._closed:
                rows = summed([self._closed[minute].rows(), rows]).rows()
                self._forget(minute)
            self._close(minute, rows)
            return
        if minute not in self._open:
            self._open[minute] = MinuteCells(self._budget, minute)
        self._open[minute].add(rows)
        self._changed.add(minute)

    def _close(self, minute: int, rows: Bytes) -> None:
        self._closed[minute] = ClosedMinute(rows, self._budget, minute)
        self._closed_cells += self._closed[minute].cells

    def _forget(self, minute: int) -> None:
        if minute in self._open:
            self._open.pop(minute).forget()
        else:
            closed = self._closed.pop(minute)
            self._closed_cells -= closed.cells
            closed.forget()

    def _next_key(self, minute: int) -> int:
        # The low bits may wrap around: no two chunks that exist at the same time have the same ones.
        key = minute << SEQUENCE_BITS | self._sequence & SEQUENCE_MASK
        self._sequence += 1
        return key


def _tally_version(version: int) -> int:
    return 1 if version < 3 else 2


def _check_salts(header: bytes, version: int, salts: int) -> None:
    """Raise SettingsRefusedError unless the header can be one of so many salts. It has a frontier for each salt."""
    if _can_be_of(header, version, salts):
        return
    found = [number for number in range(1, SALTS_MAX + 1) if _can_be_of(header, version, number)]
    made = f"counting.salts={found[0]}" if len(found) == 1 else "another counting.salts"
    raise SettingsRefusedError(
        f"the state of windows was made by {made}, and the settings say {salts}, which is fixed: set "
        f"{variable('counting.salts')} back, or count again from the archive or the topic"
    )


def _can_be_of(header: bytes, version: int, salts: int) -> bool:
    at = _HEADER.size + 8 * salts
    size = _SALT.size + Tally.size(_tally_version(version))
    rest = len(header) - at
    if rest < 0 or rest % size or (version == 1 and rest):
        return False
    frontiers = np.frombuffer(header, np.int64, salts, _HEADER.size)
    if frontiers.min() < 0 or frontiers.max() > FRONTIER_MS_MAX:
        return False
    for place in range(at, len(header), size):
        (salt,) = _SALT.unpack_from(header, place)
        (tally,) = Tally.decode_all(header[place + _SALT.size : place + size], version=_tally_version(version))
        if salt >= salts or min(tally.values()) < 0 or tally.minute * MINUTE_MS > FRONTIER_MS_MAX:
            return False
    return True
