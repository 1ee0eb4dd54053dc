"""Reads the body of a request within a bound of bytes."""

from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from services.refused import RefusedError


def declared_bytes(headers: Mapping[str, str], *, bytes_max: int) -> int:
    """How long the body is by its Content-Length; 0 if it has none. Raises RefusedError if that is too much."""
    declared = int(headers.get("content-length", "0"))
    if declared > bytes_max:
        raise _too_large(bytes_max)
    return declared


async def read_body(request: Request, *, bytes_max: int) -> bytes:
    """The whole body. Raises RefusedError if it is too large or the client goes away."""
    chunks = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > bytes_max:
                raise _too_large(bytes_max)
            chunks.append(chunk)
    except ClientDisconnect:
        raise RefusedError(400, "the client went away") from None
    return b"".join(chunks)


def _too_large(bytes_max: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {bytes_max} bytes; send it in parts")
