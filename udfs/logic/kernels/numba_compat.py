"""The one place that imports Numba.

A PyFlink worker replaces `builtins.print` by a function of another name. Numba looks `print` up in its module while it
is imported, and would fail. So this module puts the name back first.

Numba caches machine code by the source file of a kernel. It does not notice a change in another file whose kernels or
constants are compiled into that kernel, and would go on running old code. So the cache's folder is named by a key of
all files that kernels are made of (kernel_sources.py).
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

# The folder of all kernels, those in other rooms too.
_HERE = Path(__file__).parents[1]
# Typed as Any, because the module's attributes are made from the environment.
config: Any = _config
_cache = Path(config.CACHE_DIR or _HERE / "__pycache__")
if config.CACHE_DIR or os.access(_HERE, os.W_OK):
    config.CACHE_DIR = str(_cache / f"kernels-{kernel_key()[:16]}")
_cache_dir = config.CACHE_DIR
_reload_config = config.reload_config


def _reload_without_cache_dir() -> None:
    """Numba reads its settings again when one of its variables has changed, which would undo the folder set here."""
    _reload_config()
    config.CACHE_DIR = _cache_dir


config.reload_config = _reload_without_cache_dir

__all__ = ["hash_secret", "leaf", "load_u32", "load_u64", "njit", "store_u64", "zeros_below"]

# This is for kernels that other kernels call for every event, and that allocate nothing. Numba then does not count
# references to their arguments. That costs 15 ns a call, three quarters of what reading an event took
# (docs/decisions/0027).
leaf = partial(njit, cache=True, _nrt=False)


def _load(bits: int) -> Any:
    """Make an intrinsic that reads the little-endian number at buf[at] of a uint8[:].

    It takes one instruction, aligned or not. LLVM would not turn a loop over the bytes into that. It does not check the
    array's end: the caller does.
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


def _store_u64(_typing: Any, buf: Any, at: Any, _word: Any) -> Any:
    """An intrinsic that writes a uint64 to buf[at : at + 8] of a uint8[:], lowest byte first.

    Like `load_u64` it does not check the array's end: the caller does.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = context.cast(builder, arguments[1], signature.args[1], types.intp)
        pointer = builder.bitcast(builder.gep(array.data, [place]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(buf, at, types.uint64), generate


store_u64: Any = intrinsic(_store_u64)


def _zeros_below(_typing: Any, _word: Any) -> Any:
    """An intrinsic that returns how many zero bits are below the lowest one of a uint64 that is not 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


zeros_below: Any = intrinsic(_zeros_below)

# Each process draws a secret of its own. Compiled code finds it by name when it is loaded, so that code in the cache
# contains no secret.
_SYMBOL = "view_counts_hash_secret"
_secret = ctypes.c_uint64(secrets.randbits(64))
binding.add_symbol(_SYMBOL, ctypes.addressof(_secret))


def _hash_secret(_typing: Any) -> Any:
    """An intrinsic that returns a random uint64, the same while the process lives. Nobody outside knows it.

    It goes into every hash that decides a place in a table. Without it, an attacker could send names that all have the
    same place, and each of them would be compared with all others. It must not affect anything that is stored or sent.
    """

    def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        place = builder.module.globals.get(_SYMBOL)
        if place is None:
            place = ir.GlobalVariable(builder.module, ir.IntType(64), _SYMBOL)
        return builder.load(place)

    return types.uint64(), generate


hash_secret: Any = intrinsic(_hash_secret)
