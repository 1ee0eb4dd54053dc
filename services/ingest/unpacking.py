"""Unpacks one packed piece of bytes within a bound. Knows no HTTP and no file format.

A few kilobytes can unpack to gigabytes, so the bound holds for the output and is checked before more is made.
"""

import zlib
from typing import Protocol

from backports import zstd


class Unpacker(Protocol):
    """What zlib.decompressobj and ZstdDecompressor have in common."""

    @property
    def eof(self) -> bool:
        """Whether the piece has ended."""

    @property
    def unused_data(self) -> bytes:
        """What follows the piece."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most `max_length` bytes of what the data unpack to."""


class UnpackError(ValueError):
    """The piece is not what its unpacker reads, as the text says."""


class CutOffError(UnpackError):
    """The piece ends in the middle."""


class TooLongError(UnpackError):
    """There would be more bytes than allowed."""


def unpack_piece(unpacker: Unpacker, packed: bytes, bytes_max: int) -> bytes:
    """Return what one piece at the beginning of `packed` unpacks to. Raises UnpackError.

    The unpacker is a new one. At most a byte more than allowed is made.
    """
    try:
        out = unpacker.decompress(packed, max(bytes_max, 0) + 1)
    except (zlib.error, zstd.ZstdError) as error:
        raise UnpackError(str(error)) from error
    if len(out) > bytes_max:
        raise TooLongError(f"it unpacks to more than {bytes_max} bytes")
    if not unpacker.eof:
        raise CutOffError("it ends in the middle")
    return out
