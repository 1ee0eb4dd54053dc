"""A register of history in memory, for threads of one process."""

import threading

import msgspec

from udfs.logic.register import Register, nothing_applied
from udfs.sinks.history_register import Registers


class MemoryRegisters:
    """As udfs.sinks.history_register.Registers says."""

    def __init__(self, register: Register | None = None) -> None:
        self._lock = threading.Lock()
        self._register = register
        self._renewed = 0

    def read(self) -> Register | None:
        with self._lock:
            return self._register

    def swap(self, old: Register | None, new: Register) -> bool:
        with self._lock:
            there = self._register
            if there is None or old is None:
                if there is not None or old is not None:
                    return there is not None and _key(there) == _key(new)
                self._register = new
            elif _key(there) == _key(old):
                self._register = msgspec.structs.replace(new, path=there.path, made_ms=there.made_ms)
            return _key(self._register) == _key(new)

    def renew(self, register: Register) -> bool:
        with self._lock:
            there = self._register
            if there is None or (there.token, there.holder) != (register.token, register.holder):
                return False
            self._renewed += 1
            return True

    def pulse(self) -> object:
        with self._lock:
            there = self._register
            return None if there is None else (there.token, there.holder, self._renewed)


def register_of(path: str, manifest: str = "") -> MemoryRegisters:
    """One that nobody holds, of a history at this path, whose tables have all of it."""
    applied = msgspec.structs.replace(nothing_applied(), manifest=manifest)
    return MemoryRegisters(Register(path, 0, 0, "", manifest, (), applied))


def _key(register: Register) -> tuple[int, str, str]:
    return register.token, register.holder, register.manifest


_: type[Registers] = MemoryRegisters
