"""The names in generated events: videos, kinds, countries, devices. Knows no events.

Each list is a buffer of bytes with offsets, so that a compiled encoder can find names by their index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

KINDS = (b"view", b"like", b"share", "нравится".encode())
COUNTRIES = (b"AT", b"BR", b"DE", b"IN", b"JP", b"NG", b"UA", b"US")
DEVICES = (b"phone", b"tablet", b"tv", b"web")
# Video ids whose events must become dead letters, each for another reason.
BAD_VIDEOS = (b"", b"v" * 65, b"not-utf8-\xff\xfe", b"half-a-surrogate-\xed\xa0\x80")
NOT_ASCII_EVERY = 40


@dataclass(frozen=True)
class Names:
    """A list of names. Name i is `buffer[offsets[i] : offsets[i + 1]]`."""

    names: Sequence[bytes]

    @cached_property
    def buffer(self) -> npt.NDArray[np.uint8]:
        """All names, one after the other."""
        return np.frombuffer(b"".join(self.names), np.uint8)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64[names + 1]: where each name begins in the buffer, and where the last one ends."""
        return np.concatenate(([0], np.cumsum([len(name) for name in self.names], dtype=np.int64)))


def video_names(videos: int) -> Names:
    """`videos` good names, of which some are not ASCII, and then BAD_VIDEOS."""
    good = [
        f"видео-{index:06d}".encode() if index % NOT_ASCII_EVERY == 7 else b"video-%06d" % index
        for index in range(videos)
    ]
    return Names((*good, *BAD_VIDEOS))
