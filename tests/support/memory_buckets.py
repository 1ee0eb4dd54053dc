"""A double of the shared buckets of limits: the rules' own, in memory, with a clock that the test moves."""

from services.limits.buckets import NOTHING, Amount, Buckets, Lease, Limits


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class MemoryBuckets:
    """Shared buckets in memory. `leases` has everything that was given. While `is_away`, nothing answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Buckets] = {}
        self.leases: list[Lease] = []
        self.is_away = False

    async def lease(self, name: str, limits: Limits, need: Amount, want: Amount, paid: Amount = NOTHING) -> Lease:
        if self.is_away:
            raise ConnectionError("away")
        buckets = self._buckets.setdefault(name, Buckets(limits))
        lease = buckets.lease(need, want, self._clock(), paid)
        self.leases.append(lease)
        return lease
