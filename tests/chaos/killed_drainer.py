"""A drainer that kills itself with -9 when it is at a step: `python -m tests.chaos.killed_drainer STEP`."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from unittest.mock import patch

from services.drain.__main__ import main
from services.drain.kafka_sink import KafkaSink
from udfs.logic.overflow.draining import Batch
from udfs.stores.overflow_objects import OverflowObjects


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(done: Callable[..., object]) -> Callable[..., object]:
    """Do it, and die."""

    def do(*arguments: Any) -> None:
        done(*arguments)
        _die()

    return do


def _half(write: Callable[..., object]) -> Callable[..., object]:
    """Write the records of some partitions, and die."""

    def do(sink: KafkaSink, batches: Mapping[int, Iterable[Batch]]) -> object:
        if len(batches) > 1:
            write(sink, dict(list(batches.items())[: len(batches) // 2]))
            _die()
        return write(sink, batches)

    return do


# What is done at each step in place of the drainer's own, in the order in which a drainer comes to them.
STEPS: Mapping[str, tuple[type, str, Callable[..., object]]] = {
    "has read": (OverflowObjects, "read", _after(OverflowObjects.read)),
    "has written half": (KafkaSink, "write", _half(KafkaSink.write)),
    "has written": (KafkaSink, "write", _after(KafkaSink.write)),
    "has accounted": (OverflowObjects, "put_account", _after(OverflowObjects.put_account)),
    "will delete": (OverflowObjects, "delete", _die),
    "has deleted": (OverflowObjects, "delete", _after(OverflowObjects.delete)),
}

if __name__ == "__main__":
    where, name, instead = STEPS[sys.argv[1]]
    with patch.object(where, name, instead):
        main()
