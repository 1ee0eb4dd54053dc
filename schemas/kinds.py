"""The system's own kinds of events. Clients choose all other names."""

# The kind of an event, and of a question, that names none.
DEFAULT_KIND = "view"
# An event of a blocked viewer does not count as its kind, but as this prefix and its kind. Clients must not send such
# a kind.
BLOCKED_PREFIX = "blocked:"
# Events by which the system watches itself. Only keys of the scope canary write them.
CANARY_PREFIX = "canary:"
# No event has this kind. In top_videos its row is the list of the kinds that a shard has ranked, if it left any out.
OF_KINDS = ""


def blocked(kind: str) -> str:
    """The kind under which events of a kind count if their viewer is blocked."""
    return BLOCKED_PREFIX + kind


def is_reserved(kind: str) -> bool:
    """Whether lists of kinds leave this one out, since the system has made it."""
    return kind.startswith((BLOCKED_PREFIX, CANARY_PREFIX))
