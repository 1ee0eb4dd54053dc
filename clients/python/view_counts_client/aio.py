"""The client for asyncio. It never blocks the loop, and sends in a thread: also while the loop is held up."""

import asyncio
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from view_counts_client.client import FLUSH_POLL_S, Client
from view_counts_client.endpoints import State
from view_counts_client.events import VIEW
from view_counts_client.happenings import Counts, Listener
from view_counts_client.options import DEFAULTS, Options
from view_counts_client.sender import Remaining
from view_counts_client.spool.log import Fsync


class AsyncClient:
    """Counts views, as Client does. A full queue holds up the task that views, and no other."""

    def __init__(
        self,
        endpoints: str | list[str] | tuple[str, ...],
        *,
        key: str | None = None,
        spool: Path | str | None = None,
        options: Options = DEFAULTS,
        listener: Listener | None = None,
    ) -> None:
        self._client = Client(endpoints, key=key, spool=spool, options=options, listener=listener)
        self._options = options
        self._waits_for_disk = spool is not None and Fsync(options.spool_fsync) is Fsync.EACH

    async def view(
        self,
        video_id: str,
        *,
        viewer_id: str | None = None,
        kind: str = VIEW,
        country: str | None = None,
        device: str | None = None,
        user_agent: str | None = None,
        viewed_at: datetime | int | None = None,
        event_id: UUID | str | None = None,
    ) -> None:
        """See Client.view."""
        event = (video_id, viewer_id, kind, country, device, user_agent, viewed_at, event_id)
        block_s = self._options.block_max_s
        if self._waits_for_disk:
            is_taken = await asyncio.to_thread(self._client.offer, *event, block_s=block_s)
        else:
            is_taken = self._client.offer(*event, block_s=0.0)
            if not is_taken and block_s > 0:
                is_taken = await asyncio.to_thread(self._client.offer, *event, block_s=block_s)
        if not is_taken:
            self._client.full()

    async def flush(self, timeout_s: float | None = None) -> Remaining:
        """See Client.flush."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._client.hurrying():
            while (remaining := self._client.remaining()) and (until_s is None or time.monotonic() < until_s):
                await asyncio.sleep(FLUSH_POLL_S)
        return remaining

    def remaining(self) -> Remaining:
        """See Client.remaining."""
        return self._client.remaining()

    @property
    def counts(self) -> Counts:
        """See Client.counts."""
        return self._client.counts

    def endpoints(self) -> dict[str, State]:
        """See Client.endpoints."""
        return self._client.endpoints()

    async def close(self, timeout_s: float | None = None) -> Remaining:
        """See Client.close."""
        return await asyncio.to_thread(self._client.close, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
