"""Unpacks a body that was sent in gzip or zstd, within a bound of bytes. Knows no HTTP library."""

import zlib
from collections.abc import Callable

from backports import zstd

from services.ingest.unpacking import CutOffError, TooLongError, Unpacker, UnpackError, unpack_piece
from services.refused import RefusedError

# Of zlib: expect the header of gzip.
_GZIP_WINDOW_BITS = zlib.MAX_WBITS | 16
# RFC 9659: a zstd frame for HTTP needs a window of at most 8 MiB. Without the limit a frame could ask for far more.
_ZSTD_WINDOW_LOG_MAX = 23
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
# A body of many small members would be copied once for each of them.
_MEMBERS_MAX = 64
IDENTITY = "identity"
ENCODINGS = ("gzip", "zstd")


_UNPACKERS: dict[str, Callable[[], Unpacker]] = {
    "gzip": lambda: zlib.decompressobj(_GZIP_WINDOW_BITS),
    "zstd": lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS),
}


def checked_encoding(header: str) -> str:
    """The encoding that a Content-Encoding header names. Raises RefusedError (415) for one that is not taken."""
    encoding = header.strip().lower()
    encoding = {"": IDENTITY, "x-gzip": "gzip"}.get(encoding, encoding)
    if encoding == IDENTITY or encoding in ENCODINGS:
        return encoding
    if encoding == "deflate":
        raise RefusedError(
            415, "Content-Encoding deflate is not supported, because clients disagree on its format; send gzip or zstd"
        )
    raise RefusedError(415, f"Content-Encoding {encoding:.80} is not supported; send gzip, zstd or no encoding")


def unpack(encoding: str, body: bytes, *, bytes_max: int) -> bytes:
    """The body as it was before it was packed. `encoding` is one that `checked_encoding` returns.

    Raises RefusedError: 413 if there are more than `bytes_max` bytes, 400 if the body is broken or cut off. A body may
    have up to 64 members (gzip) or frames (zstd), one after the other.
    """
    if encoding == IDENTITY:
        return body
    found: list[bytes] = []
    size = 0
    while body:
        if len(found) == _MEMBERS_MAX:
            raise RefusedError(400, f"the body has more than {_MEMBERS_MAX} members of {encoding}; pack it as one")
        unpacker = _UNPACKERS[encoding]()
        try:
            found.append(unpack_piece(unpacker, body, bytes_max - size))
        except TooLongError:
            raise RefusedError(413, f"the body unpacks to more than {bytes_max} bytes; send it in parts") from None
        except CutOffError:
            raise RefusedError(400, f"the body ends before its {encoding} data do; send it whole") from None
        except UnpackError as error:
            raise RefusedError(400, f"the body is not {encoding}, as Content-Encoding says: {error}") from None
        size += len(found[-1])
        body = unpacker.unused_data
    return b"".join(found)
