"""Waits until what ingest stored in overflow is in the topic: before that, a recount of the topic lacks some of it."""

import time

from settings import OverflowSettings
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from tools.stack.object_store import s3_settings
from udfs.stores.overflow_objects import OverflowObjects

POLL_S = 0.5


class NotDrainedError(RuntimeError):
    """Drainers did not drain overflow in time, or ingest stored more of it meanwhile."""


def overflow_of(stack: Stack) -> OverflowObjects:
    """The objects of overflow of this stack."""
    return OverflowObjects(s3_settings(stack), OverflowSettings(path=f"s3://{S3_BUCKET}/overflow"))


def wait_drained(stack: Stack, timeout_s: float) -> None:
    """Wait until overflow has no object. Raises NotDrainedError.

    Let ingest run: an object goes only when the stream has counted past it, for which ingest's heartbeats are needed.
    """
    objects = overflow_of(stack)
    deadline = time.monotonic() + timeout_s
    while names := objects.names():
        if time.monotonic() > deadline:
            raise NotDrainedError(
                f"after {timeout_s:.0f} s, {len(names)} objects lie in overflow, the first one is {names[0].text}"
            )
        time.sleep(POLL_S)
