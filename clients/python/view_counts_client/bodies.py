"""The body of a request: events as NDJSON, packed. Knows no network."""

import sys
import zlib
from collections.abc import Sequence

from view_counts_client.events import Event

NDJSON = "application/x-ndjson"
ENCODINGS = ("gzip", "zstd", "identity")
# Ids are random, so that more effort hardly makes a body smaller.
_GZIP_LEVEL = 1
_GZIP_WINDOW_BITS = zlib.MAX_WBITS | 16
_ZSTD_LEVEL = 1
# Less is not worth a header.
_PACKED_BYTES_MIN = 512


def ndjson(events: Sequence[Event]) -> bytes:
    """One event a line."""
    return b"\n".join([event.line() for event in events])


def packed(body: bytes, encoding: str) -> tuple[bytes, str | None]:
    """(the body as it is sent, its Content-Encoding)."""
    if encoding == "identity" or len(body) < _PACKED_BYTES_MIN:
        return body, None
    if encoding == "zstd":
        return _zstd(body), encoding
    made = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return made.compress(body) + made.flush(), encoding


def check_encoding(encoding: str) -> None:
    """Raise ValueError for one that cannot be made here."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding={encoding!r} is not known: choose one of {', '.join(ENCODINGS)}")
    if encoding == "zstd":
        try:
            _zstd(b"")
        except ImportError:
            raise ValueError(
                "encoding='zstd' needs a package: install view-counts-client[zstd], or choose gzip"
            ) from None


def _zstd(body: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only who wants zstd needs it
    else:
        from backports import zstd  # noqa: PLC0415 - an extra, which need not be there
    made: bytes = zstd.compress(body, _ZSTD_LEVEL)
    return made
