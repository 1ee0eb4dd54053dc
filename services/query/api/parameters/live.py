"""How long a stream is."""

from collections.abc import Mapping

from schemas.values import ValueFormError, whole_number
from services.parameters import ParameterError

EVENTS_MAX = 1000


def read_events_max(query: Mapping[str, str]) -> int | None:
    """After how many events the stream ends, as `events` says; None for never."""
    text = query.get("events")
    if text is None:
        return None
    try:
        found = whole_number(text)
    except ValueFormError as error:
        raise ParameterError("events", text, str(error)) from error
    if not 1 <= found <= EVENTS_MAX:
        raise ParameterError("events", text, f"must be 1 to {EVENTS_MAX}")
    return found
