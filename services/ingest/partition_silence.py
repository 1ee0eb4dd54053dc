"""Which partitions acknowledge nothing while others do. Pure: knows no Kafka and asks no clock; times are seconds.

Every salt has an acknowledgement about every heartbeat, so a partition that is silent for long while others are not is
dead: its leader is away, or too few of its replicas are in sync. Its events are refused at once, because they would
only wait for their time-out. Heartbeats go on, and the first one that is acknowledged ends this state.
"""

import math


class PartitionSilence:
    """Remembers the last acknowledgement of each partition. Not thread-safe.

    `silence_max_s` is how long a partition may be silent.
    """

    def __init__(self, partitions: int, silence_max_s: float) -> None:
        self._silence_max_s = silence_max_s
        self._acked_at_s = [-math.inf] * partitions
        self._last_s = -math.inf
        # Since when the partitions are compared. Kafka as a whole was away before.
        self._since_s = -math.inf

    def acknowledged(self, partition: int, now_s: float, *, was_away: bool = False) -> None:
        """Note an acknowledgement. With `was_away` it is the first one after Kafka as a whole was away."""
        if was_away or now_s - self._last_s > self._silence_max_s:
            self._since_s = now_s
        self._last_s = self._acked_at_s[partition] = now_s

    def trouble(self, partition: int, now_s: float) -> str | None:
        """Why events of this partition cannot be written now; None if they can, or if no partition acknowledges."""
        if now_s - self._last_s > self._silence_max_s:
            return None
        silent_s = now_s - max(self._since_s, self._acked_at_s[partition])
        if silent_s <= self._silence_max_s:
            return None
        return f"partition {partition} has acknowledged nothing for {silent_s:.0f} s, while others have"
