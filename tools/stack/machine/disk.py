"""Watches the disk while a stack runs: warns when there is little room, and ends the stack before the disk is full.

On a full disk supervisord ends, too, because it cannot write its log. So the stack is stopped while all parts can still
write. Knows a folder and limits, and not what fills the disk.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


class DiskError(RuntimeError):
    """There is too little room on the disk to continue. The message says where, how much, and what to do."""


class DiskSettingError(ValueError):
    """A variable of DiskLimits is not a number of MiB."""


@dataclass(frozen=True)
class DiskLimits:
    """The MiB of free disk below which a stack does not start, below which it warns, and below which it is stopped."""

    start_mib: int = 5120
    warn_mib: int = 2048
    stop_mib: int = 512


def variable(name: str) -> str:
    """The environment variable that sets a field of DiskLimits."""
    return f"VIEW_COUNTS_STACK_DISK_{name.upper()}"


def disk_limits(environment: Mapping[str, str] = os.environ) -> DiskLimits:
    """The default limits, with what VIEW_COUNTS_STACK_DISK_* say. Raises DiskSettingError."""
    found = {}
    for name in DiskLimits.__dataclass_fields__:
        text = environment.get(variable(name))
        if text is None:
            continue
        if not text.isdecimal():
            raise DiskSettingError(f"{variable(name)}={text!r} is not a number of MiB: set a whole number, or unset it")
        found[name] = int(text)
    return DiskLimits(**found)


def free_bytes(folder: Path) -> int:
    """How many bytes this user may still write on the disk of `folder`, which need not exist."""
    return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free


class DiskWatch:
    """Checks the disk. A program that waits for a running stack calls `look` a few times a second."""

    def __init__(
        self,
        folder: Path,
        limits: DiskLimits,
        say: Callable[[str], None],
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder, self._limits, self._say, self._free = folder, limits, say, free
        self._told = False

    def look(self) -> None:
        """Warn once when there is little room, and again after there was enough.

        Raises DiskError if there is too little room to continue.
        """
        free = self._free(self._folder)
        if free < self._limits.stop_mib * MIB:
            raise DiskError(
                f"{free / GIB:.2f} GiB of disk are free at {self._folder}, fewer than {self._limits.stop_mib / 1024:g} "
                f"({variable('stop_mib')}): the stack was stopped, and no count is lost; free some disk, and start it "
                "again"
            )
        is_little = free < self._limits.warn_mib * MIB
        if is_little and not self._told:
            self._say(
                f"{free / GIB:.1f} GiB of disk are free at {self._folder}: the stack is stopped below "
                f"{self._limits.stop_mib / 1024:g}"
            )
        self._told = is_little
