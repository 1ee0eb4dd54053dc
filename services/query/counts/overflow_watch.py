"""Lists the folder of overflow every few seconds, in a thread. While that fails, the last listing stays and ages."""

import asyncio
import time
from collections.abc import Callable

import structlog

from udfs.logic.overflow.object_name import ObjectName
from udfs.logic.overflow.waiting import Listing

LOG = structlog.get_logger("query")


class OverflowWatch:
    """`listing` is the last one that succeeded; None before the first.

    `names` lists all objects, and may raise anything.
    """

    def __init__(self, names: Callable[[], list[ObjectName]], list_s: float) -> None:
        self._names = names
        self._list_s = list_s
        self._said: str | None = None
        self.listing: Listing | None = None

    async def run(self) -> None:
        """List until cancelled."""
        while True:
            began_ms = time.time_ns() // 1_000_000
            try:
                names = await asyncio.to_thread(self._names)
            # The store's client raises errors of several libraries.
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != self._said:
                    LOG.warning("overflow cannot be listed, so answers are complete no further", reason=reason)
                self._said = reason
            else:
                self.listing = Listing(began_ms, names)
                self._said = None
            await asyncio.sleep(self._list_s)
