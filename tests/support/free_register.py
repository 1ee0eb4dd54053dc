"""A register of history that nobody holds, for erasures and others who take its lease."""

import msgspec

from tests.support.memory_registers import MemoryRegisters
from udfs.logic.history.register import Register, nothing_applied


def register_of(path: str, manifest: str = "") -> MemoryRegisters:
    """Of a history at this path, whose tables have all of it."""
    applied = msgspec.structs.replace(nothing_applied(), manifest=manifest)
    return MemoryRegisters(Register(path, 0, 0, "", manifest, (), applied))
