"""Compares brokers' clocks with this process's own, by partition. Pure: knows no Kafka and asks no clock.

Every counting rule goes by the time that the leader of a partition stamps on a record. A leader whose clock is wrong by
more than a minute would make events late, or put them into minutes that no other partition has reached. So no events
are written to its partition until its clock is right. Heartbeats go on, and their acknowledgements show when it is.
"""

SKEW_MS_MAX = 60_000


class BrokerClocks:
    """Remembers the last acknowledgement of each partition. Not thread-safe."""

    def __init__(self, partitions: int) -> None:
        self._ahead_ms = [0] * partitions

    def acknowledged(self, partition: int, append_ms: int, now_ms: int) -> None:
        """Note that a record of this partition was stamped with `append_ms`, as acknowledged at `now_ms`."""
        self._ahead_ms[partition] = append_ms - now_ms

    def trouble(self, partition: int) -> str | None:
        """Why events of this partition cannot be written now; None if they can."""
        ahead_s = self._ahead_ms[partition] / 1000
        if abs(ahead_s) * 1000 <= SKEW_MS_MAX:
            return None
        direction = "ahead of" if ahead_s > 0 else "behind"
        return (
            f"the broker that leads partition {partition} is {abs(ahead_s):.0f} s {direction} this process's clock; "
            "set the clock that is wrong"
        )
