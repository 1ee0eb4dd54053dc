"""Tumbling one-minute windows of one shard: sums partials, hands out absolute counts, closes minutes.

A minute closes when every salt's frontier has passed its end plus the lateness. As in dedup, what must survive is
returned to be stored, and `restore` rebuilds the memory from it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from settings import CountingSettings
from udfs.logic import partials
from udfs.logic.cells import Bytes, MinuteCells
from udfs.logic.time_rules import MINUTE_MS, last_closed_minute

VERSION = 1
_HEADER = struct.Struct("<Bqq")
SEQUENCE_BITS = 32
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


class ClosedMinuteError(RuntimeError):
    """A partial came for a minute that every salt had declared closed: a broken rule, never bad input."""


@dataclass(frozen=True)
class Emission:
    """Absolute counts to write (dated rows of udfs.logic.cells), keys to drop, the last closed minute if it moved."""

    counts: list[bytes]
    dropped: list[int]
    closed_through: int | None


class ShardWindow:
    """One shard's open minutes. Not thread-safe."""

    def __init__(self, rules: CountingSettings) -> None:
        self._rules = rules
        self._frontiers = np.zeros(rules.salts, np.int64)
        self._minutes: dict[int, MinuteCells] = {}
        self._chunks: dict[int, list[int]] = {}
        self._changed: set[int] = set()
        self._sequence = 0
        self.closed_through = -1

    @property
    def has_work(self) -> bool:
        """Whether `emit` would return anything."""
        return bool(self._changed) or self._closable() > self.closed_through

    @property
    def newest_append_ms(self) -> int:
        """The latest append time that any salt has told."""
        return int(self._frontiers.max())

    def header(self) -> bytes:
        """What must be stored beside the chunks after every element and every emission."""
        return _HEADER.pack(VERSION, self._sequence, self.closed_through) + self._frontiers.tobytes()

    def restore(self, header: bytes, chunks: Iterable[tuple[int, bytes]]) -> None:
        """Become what stored these; every open cell has changed, so that it is written again."""
        version, self._sequence, self.closed_through = _HEADER.unpack_from(header)
        if version != VERSION:
            raise ValueError(f"window state of version {version}, this code reads {VERSION}: use newer code")
        self._frontiers = np.frombuffer(header, np.int64, -1, _HEADER.size).copy()
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
            # The low bits may start again: no two chunks that live at one time meet in them.
            key = minute << SEQUENCE_BITS | self._sequence & SEQUENCE_MASK
            self._sequence += 1
            self._add(minute, key, rows)
            stored.append((key, rows.tobytes()))
        self._frontiers[partial.salt] = max(int(self._frontiers[partial.salt]), partial.frontier_ms)
        return stored

    def emit(self) -> Emission:
        """Counts changed since the last call, and closing of what every salt has passed."""
        counts = self._take_changed()
        closable = self._closable()
        if closable <= self.closed_through:
            return Emission(counts, [], None)
        self.closed_through = closable
        dropped: list[int] = []
        for minute in [m for m in self._minutes if m <= closable]:
            del self._minutes[minute]
            dropped += self._chunks.pop(minute)
        return Emission(counts, dropped, closable)

    def _take_changed(self) -> list[bytes]:
        """Minutes together, since a writer does many rows at once in the time of one."""
        rows_max = self._rules.rows_per_element_max
        elements: list[list[Bytes]] = []
        room = 0
        for minute in sorted(self._changed):
            for number, rows in self._minutes[minute].take_changed(minute, rows_max):
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
        if minute not in self._minutes:
            self._minutes[minute] = MinuteCells()
            self._chunks[minute] = []
        self._minutes[minute].add(rows)
        self._chunks[minute].append(key)
        self._changed.add(minute)


def end_of_minute_ms(minute: int) -> int:
    """The end of an epoch minute."""
    return (minute + 1) * MINUTE_MS
