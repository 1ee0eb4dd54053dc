"""The id of a request, by which a client's report, an answer and a line of a log are known to belong together. Pure."""

import re
import secrets
from collections.abc import Iterable

HEADER = b"x-request-id"
_ID_BYTES = 16
# What every proxy makes, and nothing that a log or a terminal could take for something else.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:~+/=@-]{1,128}")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The id that these header fields name, if they name one and it is well formed; else a new one.

    Names of fields are in lower case, as ASGI has them.
    """
    found = [value for name, value in headers if name == HEADER]
    if len(found) == 1 and _WELL_FORMED.fullmatch(found[0]):
        return found[0]
    return secrets.token_hex(_ID_BYTES).encode()
