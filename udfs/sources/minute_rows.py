"""Reads the minutes that the stream has written from Cassandra, in whole ranges of the table, for audits."""

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
from cassandra.cluster import Session

from udfs.logic.audit.minutes import STORED

_TOKEN_MIN, _TOKEN_MAX = -(1 << 63), (1 << 63) - 1
ROWS_AT_ONCE = 5000
_SCAN = (
    "SELECT video_id, kind, minute, views, writetime(views) AS written FROM views_by_minute "
    "WHERE token(video_id, kind, day) >= ? AND token(video_id, kind, day) <= ? AND minute >= ? AND minute < ? "
    "ALLOW FILTERING"
)


def token_ranges(number: int) -> list[tuple[int, int]]:
    """Divide the ring of tokens into so many ranges. Both ends belong to a range."""
    starts = [_TOKEN_MIN + place * ((1 << 64) // number) for place in range(number)]
    ends = [start - 1 for start in starts[1:]] + [_TOKEN_MAX]
    return list(zip(starts, ends, strict=True))


class MinuteRows:
    """Reads through one session, which it does not own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scan = session.prepare(_SCAN)
        self._scan.fetch_size = ROWS_AT_ONCE

    def read(self, tokens: tuple[int, int], start: datetime, end: datetime) -> Iterator[pa.Table]:
        """Yield minutes from `start` to before `end`, of partitions in this range of tokens, as tables of STORED."""
        found: list[tuple[object, ...]] = []
        for row in self._session.execute(self._scan, (*tokens, start, end)):
            # A partition may have a title and no count.
            if row.views is not None:
                found.append((row.video_id, row.kind, row.minute, row.views, row.written))
            if len(found) == ROWS_AT_ONCE:
                yield _table(found)
                found = []
        if found:
            yield _table(found)


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    return pa.table(dict(zip(STORED.names, map(list, zip(*rows, strict=True)), strict=True)), schema=STORED)
