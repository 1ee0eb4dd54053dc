"""Waits until what ingest stored in overflow is in the topic: before that, a recount of the topic lacks some of it."""

import time

from settings import OverflowSettings, S3Settings
from tools.stack import Stack
from tools.stack.files import S3_ACCESS_KEY, S3_BUCKET, S3_SECRET_KEY
from udfs.stores.overflow_objects import OverflowObjects

POLL_S = 0.5


class NotDrainedError(RuntimeError):
    """Drainers did not drain overflow in time, or ingest stored more of it meanwhile."""


def wait_drained(stack: Stack, timeout_s: float) -> None:
    """Wait until overflow has no object. Raises NotDrainedError.

    Let ingest run: an object goes only when the stream has counted past it, for which ingest's heartbeats are needed.
    """
    s3 = S3Settings(endpoint=stack.endpoints["s3"], access_key=S3_ACCESS_KEY, secret_key=S3_SECRET_KEY)
    objects = OverflowObjects(s3, OverflowSettings(path=f"s3://{S3_BUCKET}/overflow"))
    deadline = time.monotonic() + timeout_s
    while names := objects.names():
        if time.monotonic() > deadline:
            raise NotDrainedError(
                f"after {timeout_s:.0f} s, {len(names)} objects lie in overflow, the first one is {names[0].text}"
            )
        time.sleep(POLL_S)
