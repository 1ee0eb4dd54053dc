"""The one place that imports Numba.

A PyFlink worker replaces `builtins.print` by a function of another name, and Numba, which looks `print` up in its
module while being imported, fails there; so the name is put back first.
"""

import builtins
import sys

_module = sys.modules.get(getattr(builtins.print, "__module__", ""))
if _module is not None and _module is not builtins and not hasattr(_module, "print"):
    _module.print = builtins.print  # type: ignore[attr-defined]

from numba import njit  # noqa: E402

__all__ = ["njit"]
