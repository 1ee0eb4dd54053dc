"""The one place that imports Numba.

A PyFlink worker replaces `builtins.print` by a function of another name, and Numba, which looks `print` up in its
module while being imported, fails there; so the name is put back first.

Numba keeps machine code by the source file of a kernel, and sees no change in another file whose kernels are compiled
into it: an old one would go on running. So the code is kept by what all files of this folder say.
"""

import builtins
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

_module = sys.modules.get(getattr(builtins.print, "__module__", ""))
if _module is not None and _module is not builtins and not hasattr(_module, "print"):
    _module.print = builtins.print  # type: ignore[attr-defined]

from numba import njit  # noqa: E402
from numba.core import config as _config  # noqa: E402

_HERE = Path(__file__).parent
# The module's attributes come from the environment.
config: Any = _config
_cache = Path(config.CACHE_DIR or _HERE / "__pycache__")
if config.CACHE_DIR or os.access(_HERE, os.W_OK):
    _sources = b"".join(path.read_bytes() for path in sorted(_HERE.glob("*.py")))
    config.CACHE_DIR = str(_cache / f"kernels-{hashlib.sha256(_sources).hexdigest()[:16]}")

__all__ = ["njit"]
