"""When to try again: backoff with full jitter, inside a budget. Pure: time and randomness are arguments."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double, each a random part of its bound, so that many clients do not come back together."""

    first_s: float
    most_s: float

    def wait_s(self, failures: int, random: float) -> float:
        """How long to wait after so many failures in a row. `random` is from 0 to below 1."""
        # Beyond this the power would be a number without end.
        doubled = self.first_s * 2.0 ** min(failures - 1, 64)
        return min(self.most_s, doubled) * random


class RetryBudget:
    """Retries are a share of first attempts, and a few more.

    When everything fails, clients would otherwise send several times what they send when all is well, and so keep a
    service down that could come back.
    """

    def __init__(self, *, share: float, per_s: float, most: float, now_s: float) -> None:
        self._share = share
        self._per_s = per_s
        self._most = most
        self._left = most
        self._at_s = now_s

    def attempted(self) -> None:
        """Note a first attempt."""
        self._left = min(self._most, self._left + self._share)

    def wait_s(self, now_s: float) -> float:
        """Take one retry out of the budget. Returns how long to wait until it holds one."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        self._left -= 1
        return 0.0 if self._left >= 0 else -self._left / self._per_s


class AgainWait:
    """When events are due that were not written though the service took others. They wait apart and hold nobody up."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._from_s = 0.0

    def due_s(self, now_s: float) -> float:
        """How long they still wait."""
        return max(0.0, self._from_s - now_s)

    def settled(self, now_s: float, random: float, *, failed: bool, was_again: bool) -> None:
        """Note how a batch went: what has failed waits, and longer each time that it fails once more."""
        if failed and (was_again or self._failures == 0):
            self._failures += 1
            self._from_s = now_s + self._backoff.wait_s(self._failures, random)
        elif was_again and not failed:
            self._failures = 0
