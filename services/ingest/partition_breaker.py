"""Which partitions are too slow to write to now. Pure: knows no Kafka and asks no clock; times are seconds.

A partition is slow if a record waits, or has waited, longer than a bound, or was not written. It stays slow until a
record is acknowledged within the bound. That record is a heartbeat, which every idle salt has each second, whatever
becomes of events.
"""

import math


class PartitionBreaker:
    """Remembers what waits for each partition. Not thread-safe."""

    def __init__(self, partitions: int, slow_s: float) -> None:
        self._slow_s = slow_s
        self._waiting = [0] * partitions
        # Since when a partition that has records to acknowledge has acknowledged none.
        self._since_s = [math.inf] * partitions
        self._is_open = [False] * partitions

    def sent(self, partition: int, now_s: float) -> None:
        """Note that a record was sent."""
        if self._waiting[partition] == 0:
            self._since_s[partition] = now_s
        self._waiting[partition] += 1

    def settled(self, partition: int, took_s: float, now_s: float, *, is_written: bool) -> None:
        """Note that a record which was sent `took_s` ago was acknowledged, or was not written."""
        self._waiting[partition] -= 1
        self._since_s[partition] = now_s
        self._is_open[partition] = not is_written or took_s > self._slow_s

    def trouble(self, partition: int, now_s: float) -> str | None:
        """Why a partition should get no events now; None if it may."""
        if self._waiting[partition] and now_s - self._since_s[partition] > self._slow_s:
            self._is_open[partition] = True
        if not self._is_open[partition]:
            return None
        return f"partition {partition} takes longer than {self._slow_s:g} s to acknowledge a record"
