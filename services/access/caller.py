"""Who sends a request, as the services' rules see it. Knows no HTTP and no file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request, and what is held for them.

    `project` is the name that outlives the rotation of keys: ids of text are made from it, and it is written with each
    event. `key` is the public part of the key, None if access is open.
    """

    project: str
    key: str | None = None
