"""Who sends a request, as the services' rules see it. Knows no HTTP and no file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request, and what is held for them.

    `project` is the name that outlives the rotation of keys: ids of text are made from it, and it is written with each
    event. `key` is the public part of the key, None if access is open. A limit that is None is that of the settings.
    `is_publishable` says that the key is known to everybody, so that each client address has a limit of its own. If
    `is_strict`, events with unknown fields are refused. If `has_batch_ids`, answers name the batches of what was sent.
    """

    project: str
    key: str | None = None
    events_per_s: float | None = None
    bytes_per_s: float | None = None
    is_publishable: bool = False
    is_strict: bool = False
    has_batch_ids: bool = False
