"""Reads rows of many videos by few statements. Knows no HTTP and no clock.

A statement names many partitions. One of a hundred costs the service and Cassandra a fraction of what a hundred of one
cost, and Cassandra still reads its partitions side by side. PARTITIONS_MAX bounds what one node coordinates at once.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from services.query.counts.session import ReadSession

# Of one statement.
PARTITIONS_MAX = 200


async def rows_of_many(
    session: ReadSession,
    statement: str,
    video_ids: Sequence[str],
    kinds: Sequence[str],
    *more: object,
    partitions: int = 1,
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
