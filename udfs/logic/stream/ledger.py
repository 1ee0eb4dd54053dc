"""Counts what became of the events of one salt in one minute of append time."""

import struct
from dataclasses import dataclass

_FORMAT = struct.Struct("<11q")
# Version 1, which has no clamped records.
_FORMAT_1 = struct.Struct("<10q")


@dataclass
class Tally:
    """The number of events of each fate; `received` is their sum. Records that could not be read count as records.

    A record is clamped when its timestamp is so far ahead that an earlier append time is taken
    (udfs.logic.stream.time_rules).
    """

    minute: int
    received: int = 0
    counted: int = 0
    duplicate: int = 0
    late: int = 0
    invalid: int = 0
    blocked: int = 0
    dead_lettered: int = 0
    records: int = 0
    unreadable_records: int = 0
    clamped_records: int = 0

    def values(self) -> tuple[int, ...]:
        """Return the fields in their order."""
        # dataclasses.astuple copies deeply and takes many times longer, and a header is packed for every record.
        return (
            self.minute, self.received, self.counted, self.duplicate, self.late, self.invalid, self.blocked,
            self.dead_lettered, self.records, self.unreadable_records, self.clamped_records,
        )  # fmt: skip

    def encode(self) -> bytes:
        """Return the fields as eleven little-endian int64."""
        return _FORMAT.pack(*self.values())

    @classmethod
    def decode_all(cls, blob: bytes, *, version: int = 2) -> "list[Tally]":
        """Decode any number of tallies, one after another. Those of version 1 have no clamped records."""
        return [cls(*fields) for fields in (_FORMAT_1 if version == 1 else _FORMAT).iter_unpack(blob)]

    @staticmethod
    def size(version: int = 2) -> int:
        """Return the number of bytes of an encoded tally."""
        return (_FORMAT_1 if version == 1 else _FORMAT).size
