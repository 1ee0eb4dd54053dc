"""The register of history in memory, in place of Cassandra's row."""

import threading

from udfs.logic.history.register import Register


class MemoryRegisters:
    """Changes as a lightweight transaction does; safe to use from many threads."""

    def __init__(self, register: Register | None = None) -> None:
        self._register = register
        self._pulse = 0
        self._lock = threading.Lock()

    def read(self) -> Register | None:
        """See udfs.stores.history_register.Registers."""
        with self._lock:
            return self._register

    def swap(self, old: Register | None, new: Register) -> bool:
        """See Registers."""
        with self._lock:
            there = self._register
            if (there is None) != (old is None):
                return False
            if there is not None and old is not None and _key(there) != _key(old):
                return False
            self._register = new
            self._pulse += 1
            return True

    def renew(self, register: Register) -> bool:
        """See Registers."""
        with self._lock:
            self._pulse += 1
            return self._register is not None and self._register.token == register.token

    def pulse(self) -> object:
        """See Registers."""
        with self._lock:
            return self._pulse

    def lose(self) -> None:
        """As if the row had gone."""
        with self._lock:
            self._register = None


def _key(register: Register) -> tuple[int, str, str]:
    return register.token, register.holder, register.manifest
