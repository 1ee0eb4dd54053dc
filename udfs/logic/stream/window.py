"""Tumbling one-minute windows of one shard: sums partials, hands out absolute counts, closes minutes.

A minute closes when every salt's frontier has passed its end plus the lateness. Closed minutes stay for two
hours, to be ranked. As in dedup, what must survive is returned to be stored, and `restore` rebuilds the memory from it.

What is handed out may still be unwritten when the state that says so is stored: open cells are handed out again after a
restore, and tallies are kept until the next emission, before which the last one must be written. So a shard that has
handed out anything has work, if only to learn that all is written.
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

# Version 1 has no tallies after the frontiers, those of version 2 are shorter.
VERSION = 3
_HEADER = struct.Struct("<Bqq")
_SALT = struct.Struct("<h")
SEQUENCE_BITS = 32
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
SPAN_MINUTES = 60
SALTS_MAX = 4096
# The year 10000 or so: what is beyond is no time.
FRONTIER_MS_MAX = 1 << 48


class ClosedMinuteError(RuntimeError):
    """A partial came for a minute that every salt had declared closed: a broken rule, never bad input."""


@dataclass(frozen=True)
class Emission:
    """Absolute counts (dated rows of udfs.logic.minutes.cells) and tallies by salt to write, state to drop and store.

    `closed_through`, if not None, is the last minute closed: to be told when all handed out so far is written.
    `settle`: nothing new is handed out, and all that was must be written now.
    """

    counts: list[bytes]
    tallies: list[tuple[int, Tally]]
    settle: bool
    dropped: list[int]
    stored: list[tuple[int, bytes]]
    closed_through: int | None


@dataclass(frozen=True)
class Ranking:
    """The shard's lists by kind of one span: "minute", or of the hour that ends with `minute`, "hour" and "trending".

    `kinds` is the list of kinds (udfs.logic.ranking.lists.Lists), empty where each has a list.
    `events` is how many the span held, and the one before where it is compared: it only grows for one span and minute.
    """

    span: str
    minute: int
    events: int
    lists: dict[bytes, list[Ranked]]
    kinds: list[Ranked] = field(default_factory=list)


class ShardWindow:
    """One shard's open minutes. Not thread-safe."""

    def __init__(self, rules: CountingSettings, budget: Budget | None = None) -> None:
        self._rules = rules
        self._budget = budget
        self._declared = [name.encode() for kind in rules.declared_kinds for name in (kind, blocked(kind))]
        self._frontiers = np.zeros(rules.salts, np.int64)
        # With a budget some of both lie in files (kernels/memory_budget.py), which changes nothing that is handed out.
        self._open: dict[int, MinuteCells] = {}
        self._closed: dict[int, ClosedMinute] = {}
        self._closed_cells = 0
        self._chunks: dict[int, list[int]] = {}
        self._changed: set[int] = set()
        self._unranked: set[int] = set()
        self._hour_ranked_at = -1
        self._final_hour_ranked_at = -1
        self._sequence = 0
        # By salt and minute: those not handed out, and those handed out last; and both as the header holds them, None
        # while that is not known.
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
        """The latest append time that any salt has told."""
        return int(self._frontiers.max())

    def header(self) -> bytes:
        """What must be stored beside the chunks after every element and every emission."""
        if self._packed_tallies is None:
            tallies = {**self._tallies_out, **self._tallies}
            self._packed_tallies = b"".join(_SALT.pack(salt) + tally.encode() for (salt, _), tally in tallies.items())
        head = _HEADER.pack(VERSION, self._sequence, self.closed_through)
        return head + self._frontiers.tobytes() + self._packed_tallies

    def restore(self, header: bytes, chunks: Iterable[tuple[int, bytes]]) -> None:
        """Become what stored these; every open cell is written and every minute ranked again."""
        version, self._sequence, self.closed_through = _HEADER.unpack_from(header)
        if version not in (1, 2, VERSION):
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
        """Take one element in; the chunks to store, by state key. ClosedMinuteError: see there."""
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
        """Take a salt's tallies in, absolute. They are kept in the header."""
        for tally in tallies:
            self._tallies[salt, tally.minute] = tally
        self._packed_tallies = None

    def emit(self) -> Emission:
        """What changed since the last call, and closing of what every salt has passed.

        What the last call handed out must be written before what this one hands out.
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
            # One chunk from here on, for as long as the minute is kept.
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
        """Rank what is new: changed minutes, the hour until now, and until the last closed minute."""
        self._is_unsettled = True
        found = []
        for minute in sorted(self._unranked & (self._open.keys() | self._closed.keys())):
            cells = self._open[minute] if minute in self._open else summed([self._closed[minute].rows()])
            found.append(Ranking("minute", minute, cells.events, *most_viewed(cells, self._declared)))
            cells.let_go()
        self._unranked.clear()
        # As they are now.
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
        """How many cells `rank` goes through, about."""
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
        """Minutes together, since a writer does many rows at once in the time of one."""
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
            # From state, where it is one chunk; whatever else there may be is added.
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
        # The low bits may start again: no two chunks that live at one time meet in them.
        key = minute << SEQUENCE_BITS | self._sequence & SEQUENCE_MASK
        self._sequence += 1
        return key


def _tally_version(version: int) -> int:
    return 1 if version < VERSION else 2


def _check_salts(header: bytes, version: int, salts: int) -> None:
    """Raise SettingsRefusedError unless a header can be of so many salts: its frontiers show how many there were."""
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
