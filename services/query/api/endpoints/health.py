"""Answers what monitoring asks."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from schemas.ledger import LEDGER_COLUMNS
from services.query.api.endpoints.asked import Asked
from services.query.api.endpoints.ledger import is_balanced
from services.query.counts.arrivals import overflow_notice
from services.query.counts.completeness import lost_notice, notices
from services.query.counts.series import Series
from services.query.metrics import exposition

# A minute of arrival that began this long before the current one is in the ledger, unless something is wrong.
LEDGER_SETTLED = timedelta(minutes=2)
MINUTE = timedelta(minutes=1)


class Health:
    """The operations of services.query.api.operations.health. They raise StoreAwayError."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def metrics(self, _request: Request) -> Response:
        """Metrics for Prometheus."""
        minute = self._asked.now().replace(second=0, microsecond=0) - LEDGER_SETTLED
        found = await self._asked.store.ledger(Series(MINUTE, minute, minute + MINUTE), is_beside=True)
        tally = found.get(minute, dict.fromkeys(LEDGER_COLUMNS, 0))
        complete, register = await asyncio.gather(self._asked.store.complete_through(), self._asked.store.register())
        text = exposition(
            tally,
            is_balanced=is_balanced(tally),
            complete_through=complete,
            applied=None if register is None else register.applied,
            missing_records=sum(one.records for one in await self._asked.store.lost()),
        )
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def readyz(self, _request: Request) -> Response:
        """Whether counts can be read, and in further lines what is wrong with history or the stream."""
        _, register = await asyncio.gather(self._asked.store.complete_through(), self._asked.store.register())
        # Trouble with history is only reported: the service can still answer, and no restart would remove the trouble.
        lost = lost_notice(await self._asked.store.lost())
        of_history = notices(register, path=self._asked.settings.history.path, now=self._asked.now())
        lines = ["ready", *of_history, *lost, *self._of_overflow()]
        return PlainTextResponse("".join(f"{line}\n" for line in lines))

    def _of_overflow(self) -> Sequence[str]:
        if self._asked.overflow is None:
            return ()
        settings = self._asked.settings
        return overflow_notice(
            self._asked.overflow.listing,
            now=self._asked.now(),
            list_s=settings.overflow.list_s,
            late_hours=settings.history.late_hours,
        )
