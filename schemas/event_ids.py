"""Makes an event's id of the text that a client sends as one. Imports the standard library and this package alone.

Ingest, the pack job, replay and the client use this function, so that one text is the same event by every way. The
values in tests/golden/event_ids.json are for good: with other ones an event that is sent again would count again.
"""

from uuid import UUID, uuid5

from schemas.limits import EVENT_ID_BYTES_MAX
from schemas.values import ValueFormError, uuid_of
from schemas.viewers import is_no_viewer

# UUIDv5 of the URL namespace and "tag:viewcounts,2026:event-id". It never changes.
NAMESPACE = UUID("a3301fae-44a6-5d6e-800e-0ea24fcb9594")
_NUL = "\0"

ID_FORM = f"must be a UUID or another text of 1 to {EVENT_ID_BYTES_MAX} bytes of UTF-8 without NUL"
ID_OF_NOBODY = "is what programs send that have no id, so that different events would be one; send an own id, or none"


def event_id(text: str, project: str, source: str = "") -> UUID:
    """The id that a text gives. Raises ValueFormError.

    A UUID in one of the forms of `schemas.values.uuid_of` is itself. Any other text is an id within the project, and
    within the source if there is one.
    """
    identity = uuid_of(text)
    if identity is not None and not source:
        return identity
    return id_of_text(text, project, source)


def id_of_text(text: str, project: str, source: str = "") -> UUID:
    """UUIDv5 of project, source and text, also if the text is a UUID. Raises ValueFormError."""
    if is_no_viewer(text) and text:
        raise ValueFormError(ID_OF_NOBODY)
    try:
        is_short = 1 <= len(text.encode()) <= EVENT_ID_BYTES_MAX
        source.encode()
    except UnicodeEncodeError:
        raise ValueFormError("half a surrogate pair, which is no text") from None
    # NUL separates the parts, so that no two triples are joined to the same text.
    if not is_short or _NUL in text or _NUL in source:
        raise ValueFormError(ID_FORM)
    return uuid5(NAMESPACE, _NUL.join((project, source, text)))
