"""Reads the body of a request within a bound of bytes."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import Receive

from services.connections import BODY_CAME
from services.refused import RefusedError
from services.room import Held

# JavaScript reads no larger number exactly.
SHOWN_BYTES_MAX = 1 << 53


def declared_bytes(headers: Mapping[str, str], *, bytes_max: int) -> int:
    """How long the body is by its Content-Length; 0 if it has none. Raises RefusedError if that is too much."""
    declared = int(headers.get("content-length", "0"))
    if declared > bytes_max:
        raise _too_large(bytes_max)
    return declared


def sent_bytes(headers: Mapping[str, str]) -> int | None:
    """How long the body is by its Content-Length, for whoever reads about it; None if that does not say."""
    declared = headers.get("content-length", "")
    return min(int(declared), SHOWN_BYTES_MAX) if declared.isdecimal() and len(declared) < 20 else None


async def read_body(request: Request, held: Held, *, bytes_max: int, timeout_s: float) -> bytes:
    """The whole body, for which `held` holds room as it comes.

    Raises RefusedError: 413 if it is too large, 408 if it is too slow, 400 if the client goes away, 503 without room.
    """
    chunks: list[bytes] = []
    reading = _read(request.receive, chunks, held, bytes_max)
    if BODY_CAME in request.scope.get("state", ()):
        # It is never waited for, so that it cannot be too slow. A time-out would cost as much as packing an event.
        return await reading
    try:
        async with asyncio.timeout(timeout_s):
            return await reading
    except TimeoutError:
        size = sum(map(len, chunks))
        raise RefusedError(
            408,
            f"only {size} bytes of the body came in {timeout_s:g} s; send it again, in parts if the line is slow",
        ) from None


async def _read(receive: Receive, chunks: list[bytes], held: Held, bytes_max: int) -> bytes:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the client went away")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        held.hold(size)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(bytes_max: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {bytes_max} bytes; send it in parts")
