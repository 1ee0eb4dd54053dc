"""How long a stream is."""

from collections.abc import Mapping

from services.query.api.parameters.choices import number_or_none

EVENTS_MAX = 1000


def read_events_max(query: Mapping[str, str]) -> int | None:
    """After how many events the stream ends, as `events` says; None for never."""
    return number_or_none(query, "events", EVENTS_MAX)
