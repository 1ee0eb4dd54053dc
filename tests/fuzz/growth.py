"""`python -m tests.fuzz.growth DECODER --seconds N --folder FOLDER` finds decoders that keep memory of what they read.

It reads the inputs that atheris has found, again and again. Memory may grow in the first third of the time, while
caches fill, and by a little afterwards. A leak of 1 KiB an input is found within seconds.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

MIB = 1 << 20
# What an allocator needs more in one moment than in another.
GROWTH_BYTES_MAX = 16 * MIB


class GrowthError(AssertionError):
    """Memory has grown by more than caches and the allocator explain."""


class Watch:
    """Measures this process's memory from when `warm` is called."""

    def __init__(self, bytes_max: int = GROWTH_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._first: int | None = None

    def warm(self) -> None:
        """Remember how much memory there is now, the first time."""
        if self._first is None:
            self._first = _resident()

    def grown_bytes(self) -> int:
        """How much more there is now. Raises GrowthError if that is too much."""
        assert self._first is not None, "call warm before"
        grown = _resident() - self._first
        if grown > self._bytes_max:
            text = f"memory has grown by {grown / MIB:.0f} MiB, more than {self._bytes_max / MIB:.0f} MiB"
            raise GrowthError(f"{text}, after it was warm at {self._first / MIB:.0f} MiB")
        return grown


def repeat(
    work: Callable[[], object], seconds: float, watch: Watch, clock: Callable[[], float] = time.monotonic
) -> int:
    """Work until the time is over, at least twice. Returns how often. Raises GrowthError."""
    began_at = clock()
    times = 0
    while times < 2 or clock() - began_at < seconds:
        work()
        times += 1
        if clock() - began_at >= seconds / 3:
            watch.warm()
    watch.grown_bytes()
    return times


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def main(arguments: list[str]) -> None:
    """Read the inputs, and print by how much memory has grown."""
    from tests.fuzz.decoders import DECODERS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder", choices=DECODERS)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args(arguments)
    inputs = [path.read_bytes() for path in sorted((asked.folder / "inputs").iterdir())]
    watch = Watch()

    def read_all() -> None:
        for one in inputs:
            DECODERS[asked.decoder].check(one)

    times = repeat(read_all, asked.seconds, watch)
    print(f"{times * len(inputs)} inputs: memory has grown by {watch.grown_bytes() / MIB:.1f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
