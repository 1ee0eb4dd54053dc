"""How many may listen to a process, and how many of them with one key. Pure."""

from services.refused import RETRY_AFTER_S, RefusedError


class Places:
    """The places for listeners. One key has at most half of them, rounded up, so that it shuts out no other key.

    In open access there are no keys: all who listen are on this machine, and may have all places.
    """

    def __init__(self, listeners_max: int) -> None:
        self._listeners_max = listeners_max
        self._of_key_max = (listeners_max + 1) // 2
        self._of_key: dict[str, int] = {}
        self.taken = 0

    def take(self, key: str | None) -> None:
        """Take a place for a listener with this key; None in open access. Raises RefusedError if there is none."""
        if self.taken >= self._listeners_max:
            raise _full(f"this process has {self._listeners_max} listeners and takes no more")
        if key is not None:
            of_key = self._of_key.get(key, 0)
            if of_key >= self._of_key_max:
                raise _full(f"the key {key} has {of_key} listeners at this process and may have no more")
            self._of_key[key] = of_key + 1
        self.taken += 1

    def give_back(self, key: str | None) -> None:
        """Free a place that was taken for this key."""
        self.taken -= 1
        if key is not None:
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]


def _full(reason: str) -> RefusedError:
    return RefusedError(503, f"{reason}; try again, or ask now and then", retry_after_s=RETRY_AFTER_S)
