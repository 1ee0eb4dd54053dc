"""Packs an answer in gzip or zstd. Knows no HTTP library."""

import gzip

from backports import zstd

# Below this the header fields and the work cost more than the bytes that are saved.
PACKED_BYTES_MIN = 1024
# A body that is longer takes milliseconds, for which the loop should not stand still.
IN_THREAD_BYTES_MIN = 64 << 10
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 3


def pack(encoding: str, body: bytes) -> bytes:
    """The body in this encoding, one of services.negotiation.ENCODINGS. The same body gives the same bytes."""
    if encoding == "zstd":
        return zstd.compress(body, level=_ZSTD_LEVEL)
    return gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)
