"""The register of history in memory, as udfs.sinks.history_register.Registers has it: reads and swaps are steps."""

from collections.abc import Callable

from tests.machine.jobs import step
from udfs.logic.register import Register


class MemoryRegisters:
    """One row. `swapped(old, new)` is called once it is another."""

    def __init__(self, swapped: Callable[[Register | None, Register], None] = lambda _old, _new: None) -> None:
        self.row: Register | None = None
        self._swapped = swapped
        self._pulse = 0

    def read(self) -> Register | None:
        """See Registers."""
        step("read the register", writes=False)
        return self.row

    def swap(self, old: Register | None, new: Register) -> bool:
        """See Registers. What was done may be known to nobody: whoever is killed here has done it or not."""
        step(
            f"swap the register: token {new.token}, {new.manifest or 'no manifest'}, {'applied' if new.applied else ''}"
        )
        if _compared(self.row) != _compared(old):
            return _compared(self.row) == _compared(new)
        before, self.row = self.row, new
        self._pulse += 1
        self._swapped(before, new)
        return True

    def renew(self, register: Register) -> bool:
        """See Registers. No step: it changes nothing that counts."""
        self._pulse += 1
        return self.row is not None and (self.row.token, self.row.holder) == (register.token, register.holder)

    def pulse(self) -> object:
        """See Registers."""
        return self._pulse


def _compared(register: Register | None) -> tuple[int, str, str] | None:
    """What a change is compared by."""
    return None if register is None else (register.token, register.holder, register.manifest)
