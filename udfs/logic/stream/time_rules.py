"""Which minute, which generation, late or invalid: decided by numbers alone, so that a replay decides alike.

The clock is the append time of the record (see docs/architecture.md), never the wall clock; that one decides only when
results are handed on.
"""

from schemas.values import TIME_MIN_MS
from settings.durations import MINUTE_MS
from udfs.logic.kernels.numba_compat import leaf

# A batch that was made before it, as it says, does not say when it was made.
PRODUCED_MS_MIN = TIME_MIN_MS
# Counts are caught up on, rather than followed, when what is counted arrived longer ago than this.
BEHIND_MS = 60_000


def is_clamped(record_ms: int, produced_ms: int, ahead_ms: int) -> bool:
    """Whether a record's stamp lies further ahead of when its batch was made than any record is under way."""
    return record_ms > produced_ms + ahead_ms


def append_time(record_ms: int, produced_ms: int, last_ms: int, ahead_ms: int) -> int:
    """The time of a record that can be read: what its salt's clock, at `last_ms` before it, is after it.

    A stamp far ahead of `produced_ms`, when its batch was made, counts for no more than that and `ahead_ms`; a batch
    that does not say when it was made moves nothing.
    """
    if produced_ms < PRODUCED_MS_MIN:
        return last_ms
    return max(last_ms, min(record_ms, produced_ms + ahead_ms))


@leaf()
def is_invalid(viewed_at_ms: int, append_ms: int, future_skew_ms: int) -> bool:
    """Whether the view claims to lie further ahead of its arrival than clocks may differ."""
    return viewed_at_ms > append_ms + future_skew_ms


@leaf()
def is_late(viewed_at_ms: int, append_ms: int, lateness_ms: int) -> bool:
    """Whether the view's minute had closed when it arrived."""
    return (viewed_at_ms // MINUTE_MS + 1) * MINUTE_MS + lateness_ms <= append_ms


@leaf()
def last_closed_minute(frontier_ms: int, lateness_ms: int) -> int:
    """The last minute of which nothing can be counted any more once every salt has reached the frontier."""
    return (frontier_ms - lateness_ms) // MINUTE_MS - 1


def is_behind(append_ms: int, now_ms: int) -> bool:
    """Whether the job is so far behind its input that throughput matters more than freshness."""
    return now_ms - append_ms > BEHIND_MS


def next_turn_ms(now_ms: int, interval_ms: int, turn: int = 0, turns: int = 1) -> int:
    """When it is this one's turn, of so many that take turns evenly within each interval: after now, at most one on."""
    return now_ms + interval_ms - (now_ms - turn * interval_ms // turns) % interval_ms
