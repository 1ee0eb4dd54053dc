"""Decides whether a request may begin while the process is busy. Pure: time is an argument, in s of any clock.

A process that takes every request answers all of them late. So it estimates how long a new one would wait: by those
that were let in and have not begun, and what each costs. Beyond a bound it refuses, at once and before the body is
read. Whoever comes back before the time that a refusal named is hasty, and is let in only while the wait is short:
so the room that is left goes to those who hold back.
"""

from collections import deque
from dataclasses import dataclass

from services.refused import RETRY_AFTER_S

# A hasty connection stays so for this long after its last haste, and is let in up to this share of the bound.
HASTY_S = 10.0
HASTY_SHARE = 0.125
# Once a request was refused, the wait must fall to this share of the bound. So many connections hear at once that they
# should hold back, and those who do not are known the sooner.
AGAIN_SHARE = 0.25
# So many are let in however dear each seems: an estimate that is far too high must not close the door.
WAITING_MIN = 8
# The lag of the loop counts if no sample of so many in a row is shorter: work that came in a burst is done by then.
LAGS = 5
# How far the estimate of what a request costs follows each measurement. One stall of 20 ms is not to look as if
# requests cost twice as much: those that hold back would be refused.
COST_SHARE = 0.25
# What a request costs before it was measured.
COST_S = 0.0005
# The cost is measured only while this share of the time is used: else it would have what an idle process does.
BUSY_SHARE = 0.5
# A loop that is so late has not been idle since its last sample.
LATE_S = 0.02
# Over so many requests at least.
MEASURED_MIN = 16


@dataclass(slots=True)
class Visitor:
    """What one connection was told, and whether it held to that."""

    told_until_s: float = 0.0
    hasty_until_s: float = 0.0

    def is_hasty(self, now_s: float) -> bool:
        """Whether it came back too early a short time ago."""
        return now_s < self.hasty_until_s


class Overload:
    """The requests of one process that were let in and have not begun, and how long the next one would wait."""

    def __init__(self, delay_max_s: float) -> None:
        self._delay_max_s = delay_max_s
        self.waiting = 0
        self.cost_s = COST_S
        self._is_full = False
        self._lags_s: deque[float] = deque([0.0], maxlen=LAGS)
        self._standing_s = 0.0
        self._begun = 0
        # (time, CPU time, requests begun) since when the cost is measured.
        self._since: tuple[float, float, int] | None = None
        # At some time since then nobody waited, so that the process may have been idle.
        self._had_none = True

    @property
    def delay_s(self) -> float:
        """How long a request that comes now would wait until it begins."""
        return max(self.waiting * self.cost_s, self._standing_s)

    def admits(self, visitor: Visitor, now_s: float) -> bool:
        """Let a request in if it need not wait too long, or note what its connection is told."""
        if now_s < visitor.told_until_s:
            visitor.hasty_until_s = now_s + HASTY_S
        is_hasty = visitor.is_hasty(now_s)
        share = HASTY_SHARE if is_hasty else AGAIN_SHARE if self._is_full else 1.0
        is_short = self.waiting < WAITING_MIN or self.waiting * self.cost_s <= share * self._delay_max_s
        is_admitted = is_short and self._standing_s <= self._delay_max_s
        if not is_hasty:
            self._is_full = not is_admitted
        if is_admitted:
            self.waiting += 1
        else:
            visitor.told_until_s = now_s + RETRY_AFTER_S
        return is_admitted

    def begun(self) -> None:
        """A request that was let in begins."""
        self.left()
        self._begun += 1

    def left(self) -> None:
        """A request that was let in never begins."""
        self.waiting -= 1
        if self.waiting == 0:
            self._had_none = True

    def sampled(self, lag_s: float, now_s: float, cpu_s: float) -> None:
        """Note how late the loop was, and how much CPU time the process has used since its start."""
        self._lags_s.append(lag_s)
        self._standing_s = min(self._lags_s) if len(self._lags_s) == LAGS else 0.0
        if self._since is None:
            self._measure_from(now_s, cpu_s)
            return
        since_s, since_cpu_s, since_begun = self._since
        used_s, requests = cpu_s - since_cpu_s, self._begun - since_begun
        if lag_s >= LATE_S or not self._had_none:
            # Others may use the same core, so that a request costs more time than CPU time.
            used_s = now_s - since_s
        if used_s < BUSY_SHARE * (now_s - since_s):
            self._since = None
        elif requests >= MEASURED_MIN:
            self.cost_s += (used_s / requests - self.cost_s) * COST_SHARE
            self._measure_from(now_s, cpu_s)

    def _measure_from(self, now_s: float, cpu_s: float) -> None:
        self._since = now_s, cpu_s, self._begun
        self._had_none = self.waiting == 0
