"""Makes the ids of events: UUIDs of version 7, as 16 bytes. Knows no clock; the time is an argument."""

import os
import threading
from collections.abc import Callable

ID_BYTES = 16
TIME_BYTES = 6
# What follows the time in an id.
TAIL_BYTES = 10
# So many tails are made at once: asking the kernel for 10 bytes costs as much as asking it for thousands.
POOLED = 4096
_VERSION = bytes(0x70 | byte & 0x0F for byte in range(256))
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


class Ids:
    """The ids of one process. A child must make its own: with those of its parent, two events would have one id.

    May be called from several threads at once.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._refilling = threading.Lock()
        self._tails: list[bytes] = []

    def make(self, at_ms: int) -> bytes:
        """An id that no other event has, with this time in ms since 1970."""
        while True:
            try:
                return at_ms.to_bytes(TIME_BYTES, "big") + self._tails.pop()
            except IndexError:
                self._refill()

    def _refill(self) -> None:
        with self._refilling:
            if self._tails:
                return
            block = bytearray(self._random_bytes(TAIL_BYTES * POOLED))
            # All tails at once, by their first and third bytes.
            block[0::TAIL_BYTES] = block[0::TAIL_BYTES].translate(_VERSION)
            block[2::TAIL_BYTES] = block[2::TAIL_BYTES].translate(_VARIANT)
            found = bytes(block)
            self._tails.extend(found[at : at + TAIL_BYTES] for at in range(0, len(found), TAIL_BYTES))


def text_of(identity: bytes) -> str:
    """The usual text of 16 bytes, as 8-4-4-4-12 hex digits."""
    digits = identity.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
