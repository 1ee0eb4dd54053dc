"""The names of an event's fields, and names that were meant to be one of them. Imports nothing."""

from collections.abc import Iterable

EVENT_FIELDS = ("event_id", "video_id", "viewed_at", "kind", "viewer_id", "country", "device")
_KNOWN = frozenset(EVENT_FIELDS)
_MEANT = {name.replace("_", ""): name for name in EVENT_FIELDS}


def meant(name: str) -> str | None:
    """The field that a name spells otherwise, as viewedAt, Viewed-At or VIEWED_AT do; None when it is like none."""
    if name in _KNOWN:
        return None
    return _MEANT.get("".join(letter for letter in name if letter.isalnum()).lower())


def first_meant(names: Iterable[str]) -> tuple[str, str] | None:
    """The first of these names that spells a field otherwise, and that field."""
    return next(((name, field) for name in names if (field := meant(name)) is not None), None)


def misspelt(name: str, field: str) -> str:
    """What is said of a name that spells a field otherwise."""
    return f"{name:.64} is not known, and is most likely meant to be {field}; write it so, or leave it out"
