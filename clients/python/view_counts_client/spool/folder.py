"""The folder of a spool: slots, each of one process at a time, and whose lock is whose. Knows no sending.

A process takes the first slot that nobody holds, with whatever a former process has left in it. It also adopts others
that nobody holds: of eight workers that were killed, perhaps four come back.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from view_counts_client.retry import AgainWait, Backoff
from view_counts_client.spool.log import Fsync, Log

_SLOT = "slot-"
_SLOTS_MAX = 10_000


class Slot:
    """What one process has not settled: the events that were viewed, and those that are to be sent once more."""

    def __init__(self, folder: Path, lock: int, fsync: Fsync, backoff: Backoff) -> None:
        self._lock = lock
        self.viewed = Log(folder, "viewed", fsync)
        self.again = Log(folder, "again", fsync)
        self.wait = AgainWait(backoff)

    def logs(self) -> tuple[Log, Log]:
        """Both."""
        return self.viewed, self.again

    def is_drained(self) -> bool:
        """Whether all is settled."""
        return self.viewed.is_drained() and self.again.is_drained()

    def close(self) -> None:
        """Close the files, and leave the slot to whoever wants it."""
        for log in self.logs():
            log.close()
        os.close(self._lock)

    def abandon(self) -> None:
        """In a child of fork: close what is the parent's. The lock stays the parent's."""
        for log in self.logs():
            log.abandon()
        with contextlib.suppress(OSError):
            os.close(self._lock)


def free_slot(base: Path) -> tuple[Path, int]:
    """The first slot that nobody holds, and its lock, which is held until it is closed. Raises OSError."""
    for number in range(_SLOTS_MAX):
        folder = base / f"{_SLOT}{number}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _locked(folder)
        if lock is not None:
            return folder, lock
    raise OSError(f"all {_SLOTS_MAX} slots of {base} are held by other processes: give some of them another folder")


def left_slots(base: Path) -> Iterator[tuple[Path, int]]:
    """Slots with events that nobody holds, and their locks. Raises OSError."""
    for folder in sorted(base.glob(f"{_SLOT}*")):
        if not any(folder.glob("*.log")):
            continue
        lock = _locked(folder)
        if lock is not None:
            yield folder, lock


def _locked(folder: Path) -> int | None:
    """The lock of a slot; None if another process has it, or this one."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return lock
