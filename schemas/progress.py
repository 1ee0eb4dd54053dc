"""The rule by which the rows of the table progress say how far the stream has closed its minutes. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

# The key of the count job's rows in the tables progress, missing_records and kept_settings.
PIPELINE = "view_counts"


class ShardProgress(NamedTuple):
    """A row of the table. `closed_through` is naive UTC, as the Cassandra driver gives it."""

    shard: int
    shards: int
    closed_through: datetime | None


def complete_through(rows: Sequence[ShardProgress]) -> datetime | None:
    """The end of the last minute that every shard has closed; None until each of them has closed one.

    It is also None while the rows disagree on the number of shards.
    """
    if not rows:
        return None
    shards = rows[0].shards
    closed = {row.shard: row.closed_through for row in rows if row.closed_through is not None}
    if any(row.shards != shards for row in rows) or set(closed) != set(range(shards)):
        return None
    return min(closed.values()).replace(tzinfo=UTC)


def frontier_ms(complete: datetime | None, lateness_ms: int) -> int | None:
    """An append time, in ms since 1970, that all salts have passed if all minutes through `complete` are closed.

    A shard closes a minute when every salt has passed its end by the lateness. None if `complete` is.
    """
    return None if complete is None else round(complete.timestamp() * 1000) + lateness_ms
