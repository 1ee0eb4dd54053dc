"""Kinds of events: clients name them as they like, but for those of the system's own."""

KIND_BYTES_MAX = 32
# Views of a blocked viewer do not count as their kind; they count under it with this before it. No client may.
BLOCKED_PREFIX = "blocked:"


def blocked(kind: str) -> str:
    """The kind under which blocked events of a kind are counted."""
    return BLOCKED_PREFIX + kind
