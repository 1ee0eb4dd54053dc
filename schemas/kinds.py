"""Kinds of events: clients name them as they like, but for those of the system's own."""

# Views of a blocked viewer do not count as their kind; they count under it with this before it. No client may.
BLOCKED_PREFIX = "blocked:"
# Of no event. In top_videos it has the list of kinds, of a shard that has left some out.
OF_KINDS = ""


def blocked(kind: str) -> str:
    """The kind under which blocked events of a kind are counted."""
    return BLOCKED_PREFIX + kind
