"""Reads beside the requests how the stream is and what audits found. While that fails, what was read stays and ages."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from schemas.progress import PIPELINE, ShardProgress, complete_through
from services.query.counts.overflow_watch import OverflowWatch
from services.query.counts.said_once import SaidOnce
from services.query.counts.series import naive
from services.query.counts.trust import Audited, Audits, Stream, Trust, newest_audit, newest_of_hours

LOG = structlog.get_logger("query")
STREAM_S = 2.0
AUDITS_S = 60.0
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# A stream that received no event in so many minutes is idle.
QUIET_MINUTES = 5
# The audit compares the hours of a week.
DAYS_LOOKED_BACK = 8


class Reads(Protocol):
    """What reads all rows of a statement of services.query.counts.statements, and may raise anything."""

    async def rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        """The rows."""


class TrustWatch:
    """`known` is what was read last. `now` is the clock, in UTC. `overflow` is None where none is watched."""

    def __init__(
        self, reads: Reads, now: Callable[[], datetime], *, lateness_ms: int, overflow: OverflowWatch | None = None
    ) -> None:
        self._reads = reads
        self._now = now
        self._overflow = overflow
        self.known = Trust(lateness_ms)

    async def run(self) -> None:
        """Read until cancelled."""
        await asyncio.gather(
            self._again("the stream", self.read_stream, STREAM_S), self._again("audits", self.read_audits, AUDITS_S)
        )

    async def _again(self, what: str, read: Callable[[], Awaitable[None]], pause_s: float) -> None:
        said = SaidOnce(LOG)
        while True:
            try:
                await read()
            # Without an answer nobody may be told what is not known; whatever the reason is, it is tried again soon.
            except Exception as error:
                said.failed("answers cannot say how far they are to be trusted", error, about=what)
                await asyncio.sleep(STREAM_S)
            else:
                said.succeeded()
                await asyncio.sleep(pause_s)

    async def read_stream(self) -> None:
        """Read how the stream is."""
        read_at = self._now()
        may_wait = self._may_wait()
        minute = read_at.replace(second=0, microsecond=0)
        minutes = [naive(minute - ago * MINUTE) for ago in range(-1, QUIET_MINUTES)]
        progress, ledger = await asyncio.gather(
            self._reads.rows("progress", (PIPELINE,)), self._reads.rows("newest_ledger", (minutes,))
        )
        received = sum(row.received or 0 for row in ledger)
        complete = complete_through([ShardProgress(*row) for row in progress])
        stream = Stream(read_at, complete, is_quiet=received == 0 and not may_wait)
        self.known = replace(self.known, stream=stream)

    def _may_wait(self) -> bool:
        """Whether events may wait in overflow, which the ledger does not know yet."""
        if self._overflow is None:
            return False
        return self._overflow.listing is None or self._overflow.listing.waits() is not None

    async def read_audits(self) -> None:
        """Read what the newest audits found."""
        read_at = self._now()
        days = [(read_at - ago * DAY).date() for ago in range(DAYS_LOOKED_BACK)]
        hours = newest_of_hours(
            [
                (row.hour.replace(tzinfo=UTC), _of_hour(row))
                for day in days
                for row in await self._reads.rows("verdicts", (day,))
            ]
        )
        findings: list[Audited] = []
        for day in days:
            newest = await self._reads.rows("newest_audit", (day,))
            if newest:
                rows = await self._reads.rows("findings", (day, newest[0].audited_at))
                at = newest[0].audited_at.replace(tzinfo=UTC)
                findings = [Audited(at, row.wrong, row.repaired) for row in rows]
                break
        self.known = replace(self.known, audits=Audits(read_at, newest_audit([*findings, *hours.values()]), hours))


def _of_hour(row: Any) -> Audited:
    # `repaired` counts late cells, too, which are not wrong.
    return Audited(row.audited_at.replace(tzinfo=UTC), row.wrong, max(0, row.repaired - row.late))
