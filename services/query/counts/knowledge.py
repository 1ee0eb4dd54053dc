"""Reads what all answers share beside the requests, and holds it. Knows no HTTP."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import monotonic

import structlog

from services.query.cache.single_flight import SingleFlight
from services.query.counts.completeness import Lost
from services.query.counts.known import Known
from services.query.counts.said_once import SaidOnce
from services.query.counts.session import StoreAwayError
from services.query.counts.store import CountStore
from udfs.logic.overflow.waiting import Listing

LOG = structlog.get_logger("query")


class Knowledge:
    """Holds what is known, and reads it anew every `refresh_s` while `run` runs.

    While the store does not answer, what was read last stays for `stale_s`; `Known.began_s` says how old it is. After
    that, and before the first reading, and without `run`, a question reads by itself.
    """

    def __init__(
        self,
        store: CountStore,
        listing: Callable[[], Listing | None],
        *,
        refresh_s: float,
        stale_s: float,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._listing = listing
        self._refresh_s = refresh_s
        self._stale_s = stale_s
        self._now_s = now_s
        self._is_running = False
        self._said = SaidOnce(LOG)
        self._known: Known | None = None
        self._reading: SingleFlight[None, Known] = SingleFlight()

    async def run(self) -> None:
        """Read again and again, until cancelled."""
        self._is_running = True
        try:
            while True:
                await self._read_again()
                await asyncio.sleep(self._refresh_s)
        finally:
            self._is_running = False

    async def _read_again(self) -> None:
        """Read, and raise nothing: questions find out by the age of what is known."""
        try:
            await self._reading.get(None, self._read)
        except StoreAwayError:
            pass  # The session has logged it.
        # Whatever the reason is, it is tried again soon: nobody would begin anew what has ended here.
        except Exception as error:
            self._said.failed("what answers share cannot be read, so questions read it themselves soon", error)
        else:
            self._said.succeeded()

    async def get(self) -> Known:
        """What is known. Read it before any number. Raises StoreAwayError."""
        known = self._known
        if known is not None and self._is_running and self.age_s(known) <= self._stale_s:
            return known
        return await self._reading.get(None, self._read)

    def age_s(self, known: Known) -> float:
        """How long ago it was read."""
        return self._now_s() - known.began_s

    async def _read(self) -> Known:
        began_s = self._now_s()
        # Before progress: what was drained and deleted since must be counted by then.
        listing = self._listing()
        (complete, lost), register = await asyncio.gather(self._closed(), self._store.register())
        # It comes into force as a whole.
        known = self._known = Known(began_s, listing, complete, register, lost)
        return known

    async def _closed(self) -> tuple[datetime | None, tuple[Lost, ...]]:
        """How far the stream has closed minutes, and the records that these minutes may lack."""
        complete = await self._store.complete_through()
        # A job that lacks records says so before it closes minutes, so what is read in this order lacks none of them.
        return complete, tuple(await self._store.lost())
