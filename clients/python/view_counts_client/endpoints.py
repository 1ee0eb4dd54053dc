"""Which endpoint is asked: each has a breaker, and one whose breaker is open gets nothing but a probe now and then.

Pure: time and randomness are arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What an endpoint gets."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """After so many failures in a row an endpoint is left out, for a time that doubles with each failed probe."""

    failures: int
    first_s: float
    most_s: float


class Breaker:
    """The state of one endpoint."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._failures = 0
        self._opened = 0
        self._until_s = 0.0
        self.state = State.CLOSED

    def wait_s(self, now_s: float) -> float:
        """How long nothing may be sent; 0 if something may, be it as a probe."""
        return max(0.0, self._until_s - now_s)

    def begun(self) -> None:
        """A request is sent. After an open time it is the probe."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def succeeded(self) -> None:
        """The endpoint has answered as one that works."""
        self._failures = self._opened = 0
        self._until_s = 0.0
        self.state = State.CLOSED

    def failed(self, now_s: float, random: float) -> None:
        """The endpoint has not answered, or as one that does not work."""
        self._failures += 1
        if self.state is State.HALF_OPEN or self._failures >= self._rules.failures:
            self._opened += 1
            longest_s = min(self._rules.most_s, self._rules.first_s * 2.0 ** min(self._opened - 1, 64))
            # At least half of it, so that an endpoint that is down is really left alone.
            self._until_s = now_s + longest_s * (0.5 + random / 2)
            self.state = State.OPEN

    def told_to_wait(self, until_s: float) -> None:
        """The endpoint has named the time when it may be asked again."""
        self._until_s = max(self._until_s, until_s)


class Endpoints:
    """The endpoints of one client, asked in turn, so that one that works again is soon found to."""

    def __init__(self, urls: Sequence[str], rules: BreakerRules, *, first: int = 0) -> None:
        self._breakers = [(url, Breaker(rules)) for url in urls]
        self._next = first % len(urls)

    def choose(self, now_s: float) -> tuple[str, Breaker] | float:
        """The endpoint to ask now, or how long to wait until there is one."""
        count = len(self._breakers)
        for place in range(self._next, self._next + count):
            url, breaker = self._breakers[place % count]
            if breaker.wait_s(now_s) == 0:
                self._next = (place + 1) % count
                return url, breaker
        return min(breaker.wait_s(now_s) for _, breaker in self._breakers)

    def states(self) -> dict[str, State]:
        """The state of each endpoint, by its URL."""
        return {url: breaker.state for url, breaker in self._breakers}
