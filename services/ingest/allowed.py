"""Which events of a body their sender may send: kinds and videos that the key names. Pure."""

from functools import partial

from services.access.caller import Caller
from services.ingest.events import Parsed, ViewEvent
from services.ingest.rejections import Rejection, rejection

REMEDY = "send it with another key"


def only_allowed(caller: Caller, parsed: Parsed) -> Parsed:
    """What was parsed, with events rejected that the caller may not send."""
    if caller.names_all:
        return parsed
    return parsed.without(partial(_refusal, caller))


def _refusal(caller: Caller, event: ViewEvent, index: int) -> Rejection | None:
    reason = caller.kind_refusal(event.kind)
    if reason is not None:
        return rejection(index, "kind", event.kind, reason, REMEDY)
    reason = caller.video_refusal(event.video_id)
    return None if reason is None else rejection(index, "video_id", event.video_id, reason, REMEDY)
