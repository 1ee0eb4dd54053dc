"""The arithmetic of token buckets. Pure: time is an argument, in seconds of any clock that goes forward.

A caller has two buckets, one for events and one for bytes, and a request takes from both or from none. A request that
alone needs more than a bucket can hold is taken when the bucket is full; the bucket is then in debt, so that the rate
holds all the same. So within any `t` seconds a bucket gives at most `per_s * t` and the larger of `burst` and the
largest request.

services.limits.shared has the same arithmetic as a script for Redis; a test compares the two.

The amounts are msgspec's structs, because each request makes about ten of them: frozen dataclasses cost ten times as
much.
"""

import msgspec


class Rate(msgspec.Struct, frozen=True, gc=False):
    """How many tokens come in a second, and how many a bucket holds at most. Both are above 0."""

    per_s: float
    burst: float

    def share(self, parts: int) -> "Rate":
        """One of so many equal shares."""
        return Rate(self.per_s / parts, self.burst / parts)


class Limits(msgspec.Struct, frozen=True):
    """The rates of one caller."""

    events: Rate
    bytes: Rate

    def share(self, parts: int) -> "Limits":
        """One of so many equal shares."""
        return Limits(self.events.share(parts), self.bytes.share(parts))


class Amount(msgspec.Struct, frozen=True, gc=False):
    """A number of tokens of each kind: what a request needs, what is leased or what is left."""

    events: float = 0.0
    bytes: float = 0.0

    def covers(self, other: "Amount") -> bool:
        """Whether there is as much of both kinds."""
        return self.events >= other.events and self.bytes >= other.bytes

    def half(self) -> "Amount":
        """Half of both."""
        return Amount(self.events / 2, self.bytes / 2)

    def plus(self, other: "Amount") -> "Amount":
        """The sum."""
        return Amount(self.events + other.events, self.bytes + other.bytes)

    def minus(self, other: "Amount") -> "Amount":
        """The difference, which may be below 0."""
        return Amount(self.events - other.events, self.bytes - other.bytes)

    def lack(self, other: "Amount") -> "Amount":
        """How much of each kind is missing to cover the other."""
        return Amount(max(0.0, other.events - self.events), max(0.0, other.bytes - self.bytes))


NOTHING = Amount()


class Lease(msgspec.Struct, frozen=True):
    """What buckets gave. If `wait_s` is above 0 they gave nothing, and could give the need after that time.

    `left` is what is in them afterwards, below 0 if a bucket is in debt.
    """

    given: Amount
    left: Amount
    wait_s: float = 0.0


class Bucket:
    """One bucket, full at first."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._tokens = rate.burst
        self._at_s: float | None = None

    def left(self, now_s: float) -> float:
        """What is in the bucket. A clock that goes back adds nothing."""
        if self._at_s is None:
            return self._tokens
        return min(self.rate.burst, self._tokens + self.rate.per_s * max(0.0, now_s - self._at_s))

    def wait_s(self, need: float, paid: float, now_s: float) -> float:
        """After how many seconds the bucket can give so much; 0 if it can now."""
        if need <= 0:
            return 0.0
        return max(0.0, min(need + paid, self.rate.burst) - paid - self.left(now_s)) / self.rate.per_s

    def give(self, need: float, want: float, now_s: float) -> float:
        """Take out the need, and what there is beyond it up to `want`. Returns how much that is."""
        left = self.left(now_s)
        given = need + max(0.0, min(want - need, left - need))
        self._tokens, self._at_s = left - given, now_s
        return given


class Buckets:
    """The two buckets of one caller."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._events = Bucket(limits.events)
        self._bytes = Bucket(limits.bytes)

    def lease(self, need: Amount, want: Amount, now_s: float, paid: Amount = NOTHING) -> Lease:
        """Give the need of both kinds or nothing; beyond the need, give up to `want` of what is there.

        `paid` is what was taken for the same request before. A request larger than the burst would otherwise never
        find the bucket full: its own first payment is missing.
        """
        wait_s = max(
            self._events.wait_s(need.events, paid.events, now_s), self._bytes.wait_s(need.bytes, paid.bytes, now_s)
        )
        if wait_s > 0:
            return Lease(Amount(), self._left(now_s), wait_s)
        given = Amount(
            self._events.give(need.events, want.events, now_s), self._bytes.give(need.bytes, want.bytes, now_s)
        )
        return Lease(given, self._left(now_s))

    def _left(self, now_s: float) -> Amount:
        return Amount(self._events.left(now_s), self._bytes.left(now_s))
