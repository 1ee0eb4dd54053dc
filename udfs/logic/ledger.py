"""What became of every event of one salt in one minute of arrival."""

import struct
from dataclasses import dataclass
from typing import ClassVar

_FORMAT = struct.Struct("<10q")


@dataclass
class Tally:
    """Events by fate; received is their sum. Records that could not be read are counted as records."""

    BYTES: ClassVar[int] = _FORMAT.size

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

    def values(self) -> tuple[int, ...]:
        """The fields in their order."""
        # dataclasses.astuple copies in depth, for many times the time; a header is packed for every record.
        return (
            self.minute, self.received, self.counted, self.duplicate, self.late, self.invalid, self.blocked,
            self.dead_lettered, self.records, self.unreadable_records,
        )  # fmt: skip

    def encode(self) -> bytes:
        """Ten little-endian int64."""
        return _FORMAT.pack(*self.values())

    @classmethod
    def decode_all(cls, blob: bytes) -> "list[Tally]":
        """Any number of encoded tallies, one after the other."""
        return [cls(*fields) for fields in _FORMAT.iter_unpack(blob)]
