"""How far the count job has read the log, as its own table says. Every call blocks."""

from typing import Any

from schemas.progress import PIPELINE, ShardProgress, complete_through, frontier_ms

_ASKED = "SELECT shard, shards, closed_through FROM progress WHERE pipeline = %s"


def stream_frontier_ms(session: Any, lateness_ms: int) -> int | None:
    """Return an append time that all salts have passed, and whose records are counted; None if nobody knows.

    It is up to a minute behind. Raises what the driver raises.
    """
    rows = session.execute(_ASKED, (PIPELINE,))
    return frontier_ms(complete_through([ShardProgress(*row) for row in rows]), lateness_ms)
