"""Brokers' clocks against this process's own, by partition. Pure: no Kafka, no clock of its own.

The stamp of a record's leader is the time of every counting rule. A leader that is wrong by more than a minute would
make events late or put them into minutes that nobody has reached: its partition takes no events until it is right.
Heartbeats go on, and their acknowledgements tell when that is.
"""

SKEW_MS_MAX = 60_000


class BrokerClocks:
    """What the last acknowledgement of each partition said. Not thread-safe."""

    def __init__(self, partitions: int) -> None:
        self._ahead_ms = [0] * partitions

    def acknowledged(self, partition: int, append_ms: int, now_ms: int) -> None:
        """A record of this partition was stamped with `append_ms`, and that was heard of at `now_ms`."""
        self._ahead_ms[partition] = append_ms - now_ms

    def trouble(self, partition: int) -> str | None:
        """Why events of this partition are not written now; None when they are."""
        ahead_s = self._ahead_ms[partition] / 1000
        if abs(ahead_s) * 1000 <= SKEW_MS_MAX:
            return None
        direction = "ahead of" if ahead_s > 0 else "behind"
        return (
            f"the broker that leads partition {partition} is {abs(ahead_s):.0f} s {direction} this process's clock; "
            "set the clock that is wrong"
        )

    @property
    def all_wrong(self) -> str | None:
        """What is said when no partition takes events; None when one does."""
        found = [self.trouble(partition) for partition in range(len(self._ahead_ms))]
        return found[0] if all(found) else None
