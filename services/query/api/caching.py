"""Says how long an answer may be kept, and by what tag it is known again. Pure; knows no HTTP library.

An answer about a closed range, in which nothing changes but by a rollup or a repair, has a weak tag and is asked for
anew each time (`no-cache`). The tag is of the question, the form, the revision of history and the numbers. What moves
on by itself is not in it: how far the stream is, how it does, what audits found. These stand in header fields, which
an answer 304 has anew. Every other answer has a tag of all its bytes, and may be kept for a second.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b

import msgspec
from msgspec import UNSET, Struct

from services.query.api.texts import utc_text
from services.query.counts.spans import Span

VARY = "Accept, Accept-Encoding, Authorization"
# Of an answer about a closed range, these grow while the numbers stay.
GROWING = frozenset({"complete_through", "arrivals_through"})
COMPLETE_FIELD = "View-Counts-Complete-Through"
ARRIVALS_FIELD = "View-Counts-Arrivals-Through"
_ENCODER = msgspec.json.Encoder()
_TAG_BYTES = 16
_TAG = re.compile(r'"[^"]*"')


def is_closed(answer: Struct, span: Span | None) -> bool:
    """Whether the answer is about a range that is complete, and nothing waits that may belong to it."""
    complete = getattr(answer, "complete_through", None)
    if span is None or complete is None or getattr(answer, "waiting", None) is not None or is_degraded(answer):
        return False
    # Both are written alike, so that they are in order of time.
    return bool(complete >= utc_text(span[1]))


def is_degraded(answer: Struct) -> bool:
    """Whether something is missing in the answer, or old, because a store does not answer."""
    return bool(getattr(answer, "degraded", None))


def closed_tag(answer: Struct, parts: Iterable[bytes]) -> str:
    """The weak tag of an answer about a closed range. `parts` are the question and the form."""
    fields = ((name, getattr(answer, name)) for name in answer.__struct_fields__ if name not in GROWING)
    # What an answer has only sometimes is not there now.
    numbers = [value for _, value in fields if value is not UNSET]
    return f"W/{_tag([*parts, _ENCODER.encode(numbers)])}"


def body_tag(body: bytes, parts: Iterable[bytes]) -> str:
    """The tag of all bytes of an answer, before they are packed. `parts` are the question and the form."""
    return _tag([*parts, body])


def _tag(parts: Iterable[bytes]) -> str:
    found = blake2b(digest_size=_TAG_BYTES)
    for one in parts:
        # With the length, so that no other parts give the same bytes.
        found.update(b"%d:" % len(one))
        found.update(one)
    return f'"{found.hexdigest()}"'


def is_known(if_none_match: str, tag: str) -> bool:
    """Whether a client that sends this If-None-Match has the answer with this tag."""
    if if_none_match.strip() == "*":
        return True
    # Weak or not: tags of both sorts are compared so.
    return tag.removeprefix("W/") in _TAG.findall(if_none_match)


def cache_control(*, is_closed: bool, is_public: bool) -> str:
    """The header Cache-Control. A key that everybody knows makes an answer that everybody may keep."""
    return f"{'public' if is_public else 'private'}, {'no-cache' if is_closed else 'max-age=1'}"


def growing_fields(answer: Struct) -> dict[str, str]:
    """What grows while the numbers stay, as header fields. They are structured fields (RFC 9651)."""
    found = {
        COMPLETE_FIELD: getattr(answer, "complete_through", None),
        ARRIVALS_FIELD: getattr(answer, "arrivals_through", None),
    }
    return {name: f'"{value}"' for name, value in found.items() if value is not None}
