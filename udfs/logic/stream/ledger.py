"""What became of every event of one salt in one minute of arrival."""

import struct
from dataclasses import dataclass

_FORMAT = struct.Struct("<11q")
# Before records were clamped.
_FORMAT_1 = struct.Struct("<10q")


@dataclass
class Tally:
    """Events by fate; received is their sum. Records that could not be read are counted as records.

    Clamped ones are those whose stamp lay so far ahead that it did not count (udfs.logic.stream.time_rules).
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
        """The fields in their order."""
        # dataclasses.astuple copies in depth, for many times the time; a header is packed for every record.
        return (
            self.minute, self.received, self.counted, self.duplicate, self.late, self.invalid, self.blocked,
            self.dead_lettered, self.records, self.unreadable_records, self.clamped_records,
        )  # fmt: skip

    def encode(self) -> bytes:
        """Eleven little-endian int64."""
        return _FORMAT.pack(*self.values())

    @classmethod
    def decode_all(cls, blob: bytes, *, version: int = 2) -> "list[Tally]":
        """Any number of encoded tallies, one after the other; those of version 1 have no clamped records."""
        return [cls(*fields) for fields in (_FORMAT_1 if version == 1 else _FORMAT).iter_unpack(blob)]

    @staticmethod
    def size(version: int = 2) -> int:
        """The bytes of an encoded one."""
        return (_FORMAT_1 if version == 1 else _FORMAT).size
