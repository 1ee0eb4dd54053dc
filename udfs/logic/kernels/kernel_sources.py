"""Lists the files that the compiled kernels are made of, and computes a key from their contents.

`python -m udfs.logic.kernels.kernel_sources` prints the key.

Numba's cache (numba_compat.py) and the stamp of set-up (bin/setup) use this one list. With two lists, set-up could
believe that kernels are compiled which a worker then compiles for half a minute at its first event.

This module needs no packages, because set-up runs it before anything is compiled, and whenever something is made.
"""

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = "udfs/logic"
# Kernels take constants from these files. A test checks that they take them from no other file.
OTHERS = (
    "schemas/kinds.py",
    "schemas/limits.py",
    "schemas/values.py",
    "schemas/viewers.py",
    "settings/durations.py",
)


def kernel_sources(root: Path = ROOT) -> list[Path]:
    """Return every file below the folder of kernels, and the files they take constants from, in a fixed order.

    It leaves out what Python and Numba put there themselves, and an editor's hidden files.
    """
    folder = root / FOLDER
    inside = [path for path in folder.rglob("*") if path.is_file() and _is_source(path.relative_to(folder))]
    return sorted([*inside, *(root / name for name in OTHERS)])


def _is_source(inside: Path) -> bool:
    return not any(part == "__pycache__" or part.startswith(".") for part in inside.parts)


def kernel_key(root: Path = ROOT) -> str:
    """Return the hash of the names and contents of these files. Any change that a kernel may depend on changes it."""
    digest = hashlib.sha256()
    for path in kernel_sources(root):
        content = path.read_bytes()
        # The length goes in too, so that bytes that move from one file to the next change the hash.
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(kernel_key() + "\n")
