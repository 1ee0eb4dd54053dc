"""Texts that programs send as a viewer_id though they have none. Imports nothing."""

# Upper and lower case do not matter. Events with such a viewer_id come from many viewers, so they count as events
# without a viewer, and no rule marks them as one.
NO_VIEWERS = (
    "undefined",
    "null",
    "none",
    "nil",
    "nan",
    "(null)",
    "[object object]",
    "00000000-0000-0000-0000-000000000000",
)
_KNOWN = frozenset(NO_VIEWERS)


def is_no_viewer(viewer_id: str) -> bool:
    """Whether a viewer_id names no viewer."""
    return viewer_id.lower() in _KNOWN or not viewer_id
