"""The names of an event's fields, and how to recognise a misspelt one. Imports nothing."""

from collections.abc import Iterable

EVENT_FIELDS = ("event_id", "video_id", "viewed_at", "kind", "viewer_id", "country", "device")
# Of this text ingest keeps only which kind of program it names.
AGENT_FIELD = "user_agent"
_KNOWN = frozenset(EVENT_FIELDS)
_MEANT = {name.replace("_", ""): name for name in EVENT_FIELDS}


def meant(name: str) -> str | None:
    """The field that a misspelt name means: viewed_at for viewedAt, Viewed-At or VIEWED_AT.

    None if the name is that of a field, or is similar to none.
    """
    if name in _KNOWN:
        return None
    return _MEANT.get("".join(letter for letter in name if letter.isalnum()).lower())


def first_meant(names: Iterable[str]) -> tuple[str, str] | None:
    """The first misspelt name among these, and the field that it means; None if there is none."""
    return next(((name, field) for name in names if (field := meant(name)) is not None), None)


def misspelt(name: str, field: str) -> str:
    """The error text for a misspelt name."""
    return f"{name:.64} is not known, and most likely means {field}; write {field}, or leave it out"
