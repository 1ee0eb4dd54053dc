"""Bounds the bytes of all bodies that are in memory together. Belongs to one event loop; knows no HTTP library."""

from typing import Self

from services.refused import RETRY_AFTER_S, RefusedError


class Held:
    """The bytes that one request holds."""

    def __init__(self, room: "Room") -> None:
        self._room = room
        self.held_bytes = 0

    def hold(self, size: int) -> None:
        """Hold at least so many bytes in all. Raises RefusedError (503) if there is no room for them."""
        more = size - self.held_bytes
        if more > 0:
            self._room.take(more)
            self.held_bytes = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._room.used_bytes -= self.held_bytes


class Room:
    """The room for bodies of a process."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used_bytes = 0

    def take(self, size: int) -> None:
        """Take room. Raises RefusedError (503) if there is not so much."""
        if self.used_bytes + size > self._bytes_max:
            raise RefusedError(
                503,
                f"the bodies of other requests fill the {self._bytes_max} bytes that this process has for them; send "
                "it again soon",
                retry_after_s=RETRY_AFTER_S,
            )
        self.used_bytes += size

    def request(self) -> Held:
        """What one request holds, in a `with`: it is free again at the end."""
        return Held(self)
