"""Room on the disk of a stack's data, while the stack runs: told when it becomes little, ended before there is none.

A full disk takes down what watches the others as well: supervisord cannot write a line, and dies of it. So the stack
is stopped while all can still write what they have to. Knows a folder and numbers, not what fills it.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


class DiskError(RuntimeError):
    """There is too little room to go on; the message says where, how much, and what to do."""


class DiskSettingError(ValueError):
    """A variable of room holds something that is no number of MiB."""


@dataclass(frozen=True)
class DiskLimits:
    """Free MiB below which a stack does not start, says so, and is stopped."""

    start_mib: int = 5120
    warn_mib: int = 2048
    stop_mib: int = 512


def variable(name: str) -> str:
    """The one that sets a field of DiskLimits."""
    return f"VIEW_COUNTS_STACK_DISK_{name.upper()}"


def disk_limits(environment: Mapping[str, str] = os.environ) -> DiskLimits:
    """The usual ones, or what VIEW_COUNTS_STACK_DISK_* say. Raises DiskSettingError."""
    found = {}
    for name in DiskLimits.__dataclass_fields__:
        text = environment.get(variable(name))
        if text is None:
            continue
        if not text.isdecimal():
            raise DiskSettingError(f"{variable(name)}={text!r} is no number of MiB: set a whole number, or unset it")
        found[name] = int(text)
    return DiskLimits(**found)


def free_bytes(folder: Path) -> int:
    """What this user may still write where `folder` is, or would be."""
    return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free


class DiskWatch:
    """Looked at by whoever waits for a running stack, a few times a second."""

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
        """Say once that there is little, and again after there was enough. Raises DiskError when it is too little."""
        free = self._free(self._folder)
        if free < self._limits.stop_mib * MIB:
            raise DiskError(
                f"{free / GIB:.2f} GiB of disk are free at {self._folder}, fewer than {self._limits.stop_mib / 1024:g} "
                f"({variable('stop_mib')}): the stack was stopped in good order, and nothing counted is lost; free "
                "some, and start it again"
            )
        is_little = free < self._limits.warn_mib * MIB
        if is_little and not self._told:
            self._say(
                f"{free / GIB:.1f} GiB of disk are free at {self._folder}: the stack is stopped below "
                f"{self._limits.stop_mib / 1024:g}"
            )
        self._told = is_little
