"""The one place that imports Numba.

A PyFlink worker replaces `builtins.print` by a function of another name, and Numba, which looks `print` up in its
module while being imported, fails there; so the name is put back first.

Numba keeps machine code by the source file of a kernel, and sees no change in another file whose kernels or constants
are compiled into it: an old one would go on running. So the code is kept by what all files say that kernels are made
of (kernel_sources.py).
"""

import builtins
import ctypes
import os
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any

_module = sys.modules.get(getattr(builtins.print, "__module__", ""))
if _module is not None and _module is not builtins and not hasattr(_module, "print"):
    _module.print = builtins.print  # type: ignore[attr-defined]

from llvmlite import binding, ir  # noqa: E402
from numba import njit  # noqa: E402
from numba.core import config as _config  # noqa: E402
from numba.core import types  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

from udfs.logic.kernels.kernel_sources import kernel_key  # noqa: E402

# Of all kernels, those in other rooms too.
_HERE = Path(__file__).parents[1]
# The module's attributes come from the environment.
config: Any = _config
_cache = Path(config.CACHE_DIR or _HERE / "__pycache__")
if config.CACHE_DIR or os.access(_HERE, os.W_OK):
    config.CACHE_DIR = str(_cache / f"kernels-{kernel_key()[:16]}")
_cache_dir = config.CACHE_DIR
_reload_config = config.reload_config


def _reload_without_cache_dir() -> None:
    """Numba reads its settings anew once a variable of its own has changed, and would then go by the key no more."""
    _reload_config()
    config.CACHE_DIR = _cache_dir


config.reload_config = _reload_without_cache_dir

__all__ = ["hash_secret", "leaf", "load_u32", "load_u64", "njit"]

# For kernels that other kernels call for every event, and that allocate nothing: without references to their arguments
# being counted, which costs 15 ns a call, three quarters of what reading an event took (docs/decisions/0027).
leaf = partial(njit, cache=True, _nrt=False)


def _load(bits: int) -> Any:
    """An intrinsic: the number whose bytes, little-endian, are at buf[at] of a uint8[:].

    In one instruction, aligned or not; byte by byte it is a loop that LLVM does not see through. Reads beyond the
    array's end, if told to.
    """
    number = types.Integer.from_bitwidth(bits, signed=False)

    def load(_typing: Any, buf: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = context.cast(builder, arguments[1], signature.args[1], types.intp)
            pointer = builder.bitcast(builder.gep(array.data, [place]), ir.IntType(bits).as_pointer())
            return builder.load(pointer, align=1)

        return number(buf, at), generate

    return intrinsic(load)


load_u32 = _load(32)
load_u64 = _load(64)

# Drawn anew in each process. Compiled code finds it by name when it is loaded: code in the cache contains no secret.
_SYMBOL = "view_counts_hash_secret"
_secret = ctypes.c_uint64(secrets.randbits(64))
binding.add_symbol(_SYMBOL, ctypes.addressof(_secret))


def _hash_secret(_typing: Any) -> Any:
    """An intrinsic: a random uint64 that is the same for the process's life and that nobody outside knows.

    It goes into every hash that decides a place in a table, or a stranger could send names that all share one place,
    and each would be compared with all others. It must not decide anything that is stored or sent.
    """

    def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        place = builder.module.globals.get(_SYMBOL)
        if place is None:
            place = ir.GlobalVariable(builder.module, ir.IntType(64), _SYMBOL)
        return builder.load(place)

    return types.uint64(), generate


hash_secret: Any = intrinsic(_hash_secret)
