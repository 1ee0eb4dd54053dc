"""What operators tell a process of a key, on its private port: that it is withdrawn, or that it is diverted."""

from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.access_keys import is_id
from services.access.access import Access
from services.access.known_keys import Told
from services.json_answer import json_answer
from services.openapi import JSON, Answer, Body, Operation, Parameter
from services.refused import RefusedError

LOG = structlog.get_logger("access")
ADMINS = frozenset({"admin"})
BODY_BYTES_MAX = 4096
_DECODER = msgspec.json.Decoder(Told)


class Heard(Struct, frozen=True):
    """The answer to what was told of a key."""

    is_known: Annotated[bool, Meta(description="Whether this process has the key. What was told holds either way.")]


class NotHeard(Struct, frozen=True):
    """Why nothing was changed."""

    error: str


KEYS: Operation[Any] = Operation(
    "/v1/keys/{key_id}",
    "Say since when a key is withdrawn or diverted; null takes it back. It holds from now on, before the file of keys "
    "has reached this process. It needs a key of the scope admin.",
    Answer("It holds from now on.", (Heard,)),
    {
        400: Answer("The id or the body is not as it should be.", (NotHeard,)),
        401: Answer("There is no valid key.", (NotHeard,)),
        403: Answer("The key is not one of the scope admin, or access is open and there are no keys.", (NotHeard,)),
    },
    (Parameter("key_id", "The public id of the key.", in_path=True),),
    (Body(JSON, "since when", Told, {"withdrawn_at": "2026-01-01T12:00:00Z", "diverted_at": None}),),
    method="POST",
)


def operator_routes(access: Access) -> list[Route]:
    """The routes for a private port."""

    async def tell(request: Request) -> Response:
        try:
            return json_answer(Heard(await _tell(access, request)), 200)
        except RefusedError as refused:
            return json_answer(NotHeard(refused.error), refused.status, refused.headers)

    return [Route(KEYS.path, tell, methods=[KEYS.method])]


async def _tell(access: Access, request: Request) -> bool:
    if access.is_open:
        raise RefusedError(403, "access is open, so that there are no keys")
    caller = access.caller(request, ADMINS)
    key_id = request.path_params["key_id"]
    # What is told is kept, also of a key that this process does not know yet.
    if not is_id(key_id):
        raise RefusedError(400, f"key_id={key_id:.80} is no id of a key; send the one that `keys list` shows")
    body = await _body(request)
    try:
        told = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"the body is not as it should be: {error}") from error
    is_known = access.known.tell(key_id, told)
    LOG.warning(
        "told of a key",
        key=key_id,
        withdrawn_at=str(told.withdrawn_at),
        diverted_at=str(told.diverted_at),
        by=caller.key,
        is_known=is_known,
    )
    return is_known


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise RefusedError(400, f"the body is longer than {BODY_BYTES_MAX} bytes")
    except ClientDisconnect:
        raise RefusedError(400, "the client went away") from None
    return body
