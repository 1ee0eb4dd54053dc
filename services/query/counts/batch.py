"""Totals of many videos by few statements: the arithmetic of CountStore.totals for a list. Knows no HTTP and no clock.

A statement names many partitions. One of a hundred costs the service and Cassandra a fraction of what a hundred of one
cost, and Cassandra still reads its partitions side by side. PARTITIONS_MAX bounds what one node coordinates at once.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from services.query.counts.session import ReadSession

# Of one statement.
PARTITIONS_MAX = 200
# A video and a kind of events.
Name = tuple[str, str]


async def read_totals(
    session: ReadSession, video_ids: Sequence[str], kinds: Sequence[str], *, end: datetime, days: Sequence[date]
) -> dict[Name, int]:
    """Total views by video and kind: what the rollup has counted, and the minutes from there on. None is left out.

    `end` is the naive time at which history ends, and minutes begin to answer. `days` are those whose minutes are kept.
    """
    bases = {
        (row.video_id, row.kind): row for row in await _rows(session, "bases_of_many", video_ids, kinds, partitions=1)
    }
    found = {(video_id, kind): 0 for video_id in video_ids for kind in kinds}
    # A rollup that has written since the register was read has counted further. What lies between counts once.
    since: dict[datetime, set[Name]] = {}
    for name in found:
        base = bases.get(name)
        since.setdefault(end if base is None else max(end, base.complete_through), set()).add(name)
        found[name] = 0 if base is None else base.views

    async def add_minutes(start: datetime, names: set[Name]) -> None:
        wanted = [day for day in days if day >= start.date()]
        videos = [video_id for video_id in video_ids if any((video_id, kind) in names for kind in kinds)]
        more = wanted, start
        for row in await _rows(session, "day_sums_of_many", videos, kinds, *more, partitions=len(wanted)):
            if (row.video_id, row.kind) in names:
                found[row.video_id, row.kind] += row.views or 0

    await asyncio.gather(*(add_minutes(start, names) for start, names in since.items()))
    return found


async def read_imported(session: ReadSession, video_ids: Sequence[str], kinds: Sequence[str]) -> dict[Name, int]:
    """Imported views by video and kind; those without any are left out."""
    rows = await _rows(session, "imported_of_many", video_ids, kinds, partitions=1)
    return {(row.video_id, row.kind): row.views for row in rows}


async def _rows(
    session: ReadSession,
    statement: str,
    video_ids: Sequence[str],
    kinds: Sequence[str],
    *more: object,
    partitions: int,
) -> list[Any]:
    """All rows of a statement for these videos and kinds, each of which has so many partitions."""
    at_once = max(1, PARTITIONS_MAX // max(1, partitions * len(kinds)))
    parts = await asyncio.gather(
        *(
            session.rows(statement, (list(video_ids[at : at + at_once]), list(kinds), *more))
            for at in range(0, len(video_ids), at_once)
        )
    )
    return [row for rows in parts for row in rows]
