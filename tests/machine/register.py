"""The register of history in memory, as udfs.stores.history_register.Registers has it: reads and swaps are steps."""

from collections.abc import Callable

from tests.machine.jobs import current_job, step
from udfs.logic.history.register import Register


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
        step(f"swap the register: {_changes(old, new)}")
        if _compared(self.row) != _compared(old):
            return _compared(self.row) == _compared(new)
        before, self.row = self.row, new
        job = current_job()
        if job is not None and (before is None or before.token != new.token):
            job.token = new.token
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

    def lose(self) -> None:
        """The row is gone: the world does that."""
        self.row = None


def _changes(old: Register | None, new: Register) -> str:
    """What is to be another, for people."""
    found = [
        f"{name} {getattr(new, name)!r}"
        for name in ("token", "holder", "manifest")
        if old is None or getattr(old, name) != getattr(new, name)
    ]
    if old is None or old.applied != new.applied:
        found.append(f"applied {new.applied.manifest!r}" if new.applied else "applied nothing")
    return ", ".join(found)


def _compared(register: Register | None) -> tuple[int, str, str] | None:
    """What a change is compared by."""
    return None if register is None else (register.token, register.holder, register.manifest)
