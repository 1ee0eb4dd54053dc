"""Says when a store that does not answer is to be left alone. Pure: asks no clock; times are seconds.

After some failures in succession the breaker is open: nobody should ask the store but a probe. When the probe fails,
the next one waits longer; when anything succeeds, the breaker is closed.
"""


class Breaker:
    """Remembers how the calls of one store went. Not thread-safe.

    It opens after `failures` in succession. The first probe comes after `first_s`, and each further one after twice as
    long, `most_s` at most.
    """

    def __init__(self, failures: int, first_s: float, most_s: float) -> None:
        self._failures_max = failures
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0
        self._pause_s = first_s
        self._again_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the store is to be left alone."""
        return self._failures >= self._failures_max

    def pause_s(self, now_s: float) -> float:
        """How long the next probe should wait."""
        return max(0.0, self._again_s - now_s)

    def succeeded(self) -> None:
        """Note that the store has answered."""
        self._failures = 0
        self._pause_s = self._first_s

    def failed(self, now_s: float) -> None:
        """Note that it has not. Calls that began before the breaker opened may tell so of it afterwards, too."""
        self._failures += 1
        if self.is_open and now_s >= self._again_s:
            self._again_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, self._most_s)
