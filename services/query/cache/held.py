"""Holds values by key within a number of bytes. What was used longest ago makes room. Knows no clock."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Held(Generic[K, V]):
    """Values by key, at most `bytes_max` of them by `size`, which says how many bytes a key and its value take up.

    A value that is larger than all the room is not held.
    """

    def __init__(self, bytes_max: int, size: Callable[[K, V], int]) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max
        self._size = size
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, if it is held."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V) -> None:
        """Hold this value in place of the one before."""
        self.drop(key)
        size = self._size(key, value)
        if size > self._bytes_max:
            return
        self._values[key] = value, size
        self.bytes += size
        while self.bytes > self._bytes_max:
            _, (_, freed) = self._values.popitem(last=False)
            self.bytes -= freed

    def drop(self, key: K) -> None:
        """Hold the value of this key no longer, if it is held."""
        found = self._values.pop(key, None)
        if found is not None:
            self.bytes -= found[1]
