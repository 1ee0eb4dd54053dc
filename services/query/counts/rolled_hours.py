"""Hours of a video as the rollup has counted them, by the month, held near by and beneath that in Redis. No HTTP.

A month is what one partition of Cassandra has, so that all ranges share what was read for any of them. Rows of
`views_by_hour` are written by rollups and repairs alone, which end with a new revision of history. So a month is held
for as long as history has the same state, and for KEPT_S at most in either place, in case somebody changes rows without
a revision. A month that is read while a rollup writes may have some of its rows: each is whole by itself.
"""

import asyncio
import functools
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import NamedTuple

import msgspec

from services.query.cache.held import Held
from services.query.cache.shared import Shared
from services.query.cache.single_flight import SingleFlight
from services.query.counts.completeness import HistoryState
from services.query.counts.series import naive
from services.query.counts.session import ReadSession
from services.query.counts.spans import months as months_of

KEPT_S = 600
# Of a month beside its rows and its names: objects of Python.
MONTH_BYTES = 500
_ROW = struct.Struct("<qq")
HOUR_S = 3600
# (hour, views), the hour in naive UTC.
Hour = tuple[datetime, int]


class _Month(NamedTuple):
    state: tuple[object, ...]
    read_s: float
    packed: bytes


class RolledHours:
    """Reads hours. They are held near by within `bytes_max`, and in `shared`, if it is given.

    `keyspace` tells what lies in one Redis for several keyspaces apart.
    """

    def __init__(
        self, session: ReadSession, shared: Shared | None = None, *, keyspace: str = "", bytes_max: int = 0
    ) -> None:
        self._session = session
        self._shared = Shared(None, kept_s=KEPT_S) if shared is None else shared
        self._keyspace = keyspace
        self._held: Held[tuple[str, str, date], _Month] = Held(bytes_max, _size)
        self._reads: SingleFlight[bytes, bytes] = SingleFlight()

    async def rows(self, video_id: str, kind: str, months: Sequence[date], history: HistoryState) -> list[Hour]:
        """All hours of these months, which are named by their first days. Raises StoreAwayError."""
        now_s = monotonic()
        found: dict[date, bytes] = {}
        for month in months:
            one = self._held.get((video_id, kind, month))
            if one is not None and one.state == history.state and now_s - one.read_s < KEPT_S:
                found[month] = one.packed
        missing = {month: self._name(video_id, kind, month, history) for month in months if month not in found}
        shared = await self._shared.get(list(missing.values()))
        there = {month: packed for month, packed in zip(missing, shared, strict=True) if packed is not None}
        new = [month for month in missing if month not in there]
        calls = (functools.partial(self._read, video_id, kind, month) for month in new)
        read = await asyncio.gather(*(self._reads.get(missing[at], call) for at, call in zip(new, calls, strict=True)))
        self._shared.put({missing[month]: packed for month, packed in zip(new, read, strict=True)})
        there |= zip(new, read, strict=True)
        for month, packed in there.items():
            self._held.put((video_id, kind, month), _Month(history.state, now_s, packed))
        return [row for packed in (found | there).values() for row in _unpacked(packed)]

    async def _read(self, video_id: str, kind: str, month: date) -> bytes:
        start = datetime(month.year, month.month, 1)
        after = months_of(month, month + timedelta(days=31))[1]
        end = datetime(after.year, after.month, 1)
        rows = await self._session.rows("hours", (video_id, kind, month, start, end))
        return b"".join(_ROW.pack(round(row.hour.replace(tzinfo=UTC).timestamp()), row.views) for row in rows)

    def _name(self, video_id: str, kind: str, month: date, history: HistoryState) -> bytes:
        return msgspec.json.encode(("hours", self._keyspace, history.state, kind, month, video_id))


def _unpacked(packed: bytes) -> list[Hour]:
    return [(naive(datetime.fromtimestamp(at_s, UTC)), views) for at_s, views in _ROW.iter_unpack(packed)]


def _size(key: tuple[str, str, date], month: _Month) -> int:
    return MONTH_BYTES + len(key[0]) + len(key[1]) + len(month.packed)
