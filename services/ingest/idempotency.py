"""The Idempotency-Key of a request: with it, events without ids have the same ids whenever the same body is sent.

The id is made from the sender's project, the key, the event's place in the body and the event as it was sent. So a key
that is used again for another body loses nothing. Knows no HTTP library; the time is an argument.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from schemas.values import ValueFormError, time_of_id, uuid_of
from schemas.viewers import is_no_viewer
from services.refused import RefusedError

HEADER = "Idempotency-Key"
# UUIDv5 of the URL namespace and "tag:viewcounts,2026:idempotency-key". It never changes.
NAMESPACE = UUID("dafe1108-8ecf-5366-90e2-aa3e984b04f1")
_FORM = re.compile(r'[!#-~]{1,128}|"[!#-~]{1,128}"')
_WRONG = (
    "send 1 to 128 visible ASCII characters, with or without double quotes around them, that no other body has; a "
    "UUIDv7 is best"
)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key, and the time of those of its events that have none.

    If `is_bounded`, that is the time now, because the key has none: a repeat then counts once within a generation only.
    """

    text: str
    time_ms: int
    is_bounded: bool

    def event_id(self, project: str, index: int, sent: bytes) -> UUID:
        """The id of an event without one: `sent` are its bytes, and `index` is its place in the body."""
        digest = hashlib.sha256(sent).hexdigest()
        return uuid5(NAMESPACE, f"{project}\0{self.text}\0{index}\0{digest}")


def key_of(lines: Sequence[str], now_ms: int) -> RequestKey | None:
    """The key in the header's lines; None if there are none. Raises RefusedError (422).

    A key in double quotes is the same without them.
    """
    if not lines:
        return None
    if len(lines) > 1 or _FORM.fullmatch(lines[0]) is None:
        raise RefusedError(422, f"{HEADER}={', '.join(lines)!r:.80} is no key: {_WRONG}")
    text = lines[0].strip('"')
    if is_no_viewer(text):
        raise RefusedError(422, f"{HEADER}={text!r:.80} is what programs send that have no key: {_WRONG}")
    try:
        identity = uuid_of(text)
    except ValueFormError:
        raise RefusedError(422, f"{HEADER}={text!r:.80} is what programs send that have no key: {_WRONG}") from None
    at_ms = None if identity is None else time_of_id(identity)
    return RequestKey(text, now_ms, is_bounded=True) if at_ms is None else RequestKey(text, at_ms, is_bounded=False)
