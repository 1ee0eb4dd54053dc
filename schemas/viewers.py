"""Texts that are sent as a viewer_id by programs that have none. Imports nothing."""

# In any case. Whoever has one of these as a viewer_id is nobody: not one viewer, whom a rule could mark.
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


def is_no_viewer(viewer_id: str) -> bool:
    """Whether a viewer_id is nobody's."""
    return viewer_id.lower() in NO_VIEWERS or not viewer_id
