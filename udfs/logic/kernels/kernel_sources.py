"""Which files the compiled kernels are made of, and the key of what these say.

`python -m udfs.logic.kernels.kernel_sources` prints the key.

The one list, for Numba's cache (numba_compat.py) and for the stamp of set-up (bin/setup): were there two, set-up would
take kernels for compiled that a worker then compiles for half a minute, at its first event.

Plain Python: set-up runs it before anything is compiled, and whenever something is made.
"""

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = "udfs/logic"
# From which kernels take constants; a test looks that no other file is.
OTHERS = (
    "schemas/kinds.py",
    "schemas/limits.py",
    "schemas/values.py",
    "schemas/viewers.py",
    "settings/durations.py",
)


def kernel_sources(root: Path = ROOT) -> list[Path]:
    """Every file below the folder of kernels, and those they take constants from, in a fixed order.

    Not what Python and Numba put there themselves, nor an editor's hidden files.
    """
    folder = root / FOLDER
    inside = [path for path in folder.rglob("*") if path.is_file() and _is_source(path.relative_to(folder))]
    return sorted([*inside, *(root / name for name in OTHERS)])


def _is_source(inside: Path) -> bool:
    return not any(part == "__pycache__" or part.startswith(".") for part in inside.parts)


def kernel_key(root: Path = ROOT) -> str:
    """The hash of the names and contents of all of them: another one for any change that a kernel may depend on."""
    digest = hashlib.sha256()
    for path in kernel_sources(root):
        content = path.read_bytes()
        # With its length, so that no byte can move from one file to the next unseen.
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(kernel_key() + "\n")
