"""The rules of time: append time, late, invalid, closed. They take numbers alone, so that a replay decides the same.

The time of an event is the append time of its record (see docs/architecture.md), never the wall clock. The wall clock
only decides when results are sent on.
"""

from schemas.values import TIME_MIN_MS
from settings.durations import MINUTE_MS
from udfs.logic.kernels.numba_compat import leaf

# A batch whose `produced_at` is earlier than this is treated as if it did not say when it was made.
PRODUCED_MS_MIN = TIME_MIN_MS
# The job is behind when the records that it counts arrived longer ago than this.
BEHIND_MS = 60_000


def is_clamped(record_ms: int, produced_ms: int, ahead_ms: int) -> bool:
    """Return whether a record's timestamp is more than `ahead_ms` after the time at which its batch was made."""
    return record_ms > produced_ms + ahead_ms


def append_time(record_ms: int, produced_ms: int, last_ms: int, ahead_ms: int) -> int:
    """Return the append time of a record that can be read, to which it moves its salt from `last_ms`.

    It is the record's timestamp, but at most `produced_ms`, when the batch was made, plus `ahead_ms`, and never before
    `last_ms`. A batch that does not say when it was made does not move its salt.
    """
    if produced_ms < PRODUCED_MS_MIN:
        return last_ms
    return max(last_ms, min(record_ms, produced_ms + ahead_ms))


@leaf()
def is_invalid(viewed_at_ms: int, append_ms: int, future_skew_ms: int) -> bool:
    """Return whether the time at which an event was viewed is further ahead of its arrival than clocks may differ."""
    return viewed_at_ms > append_ms + future_skew_ms


@leaf()
def is_late(viewed_at_ms: int, append_ms: int, lateness_ms: int) -> bool:
    """Return whether the minute in which an event was viewed had closed when the event arrived."""
    return (viewed_at_ms // MINUTE_MS + 1) * MINUTE_MS + lateness_ms <= append_ms


@leaf()
def last_closed_minute(frontier_ms: int, lateness_ms: int) -> int:
    """Return the last minute that is closed once every salt has reached this frontier."""
    return (frontier_ms - lateness_ms) // MINUTE_MS - 1


def is_behind(append_ms: int, now_ms: int) -> bool:
    """Return whether the job is so far behind its input that throughput matters more than freshness."""
    return now_ms - append_ms > BEHIND_MS


def next_turn_ms(now_ms: int, interval_ms: int, turn: int = 0, turns: int = 1) -> int:
    """Return the next time, after `now_ms`, of turn number `turn`. The turns are spread evenly over each interval."""
    return now_ms + interval_ms - (now_ms - turn * interval_ms // turns) % interval_ms
