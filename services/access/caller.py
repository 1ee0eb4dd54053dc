"""Who sends a request, as the services' rules see it. Knows no HTTP and no file."""

from dataclasses import dataclass

from schemas.access_keys import ANY, Key
from schemas.kinds import CANARY_PREFIX


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request, and what is held for them.

    `project` is the name that outlives the rotation of keys: ids of text are made from it, and it is written with each
    event. `key` is the public id of the key, None if access is open. `is_publishable` says that the key is known to
    everybody, so that each client address has a limit of its own. `kinds` are the kinds that the caller may name, None
    for all that are not reserved. If `is_strict`, events with unknown fields are refused. If `has_batch_ids`, answers
    name the batches of what was sent. Limits that are None are those of the settings.
    """

    project: str
    key: str | None = None
    scope: str | None = None
    is_publishable: bool = False
    kinds: frozenset[str] | None = None
    video_id_prefix: str = ""
    # The channels that may be asked for, and whose videos; None for any.
    channels: frozenset[str] | None = None
    # Whether kinds for watching the system may be named.
    is_canary: bool = True
    is_strict: bool = False
    has_batch_ids: bool = False
    # Whether what is written goes to a topic apart.
    is_diverted: bool = False
    events_per_s: float | None = None
    bytes_per_s: float | None = None
    # How many videos by kind a day; None for what holds for keys that do not say.
    names_per_day_max: int | None = None

    @property
    def counts_names(self) -> bool:
        """Whether each event is looked at for a name that is new today. Other secret keys are trusted with names."""
        return self.key is not None and (self.is_publishable or self.names_per_day_max is not None)

    @property
    def names_all_but_canaries(self) -> bool:
        """Whether no kind and no video is closed to this caller, save kinds for watching the system."""
        return self.kinds is None and not self.video_id_prefix and self.scope != "canary"

    @property
    def names_all(self) -> bool:
        """Whether no kind and no video is closed to this caller, as in open access."""
        return self.is_canary and self.names_all_but_canaries

    def kind_refusal(self, kind: str) -> str | None:
        """Why this caller may not name this kind; None if it may."""
        if self.kinds is not None and kind not in self.kinds:
            return f"the key {self.key} is for other kinds; send one of {', '.join(sorted(self.kinds))}"
        if kind.startswith(CANARY_PREFIX) and not self.is_canary:
            return f"kinds that begin with {CANARY_PREFIX} are for keys of the scope canary; send another kind"
        if self.scope == "canary" and not kind.startswith(CANARY_PREFIX):
            return f"a key of the scope canary is for kinds that begin with {CANARY_PREFIX}; send such a kind"
        return None

    def video_refusal(self, video_id: str) -> str | None:
        """Why this caller may not name this video; None if it may."""
        if video_id.startswith(self.video_id_prefix):
            return None
        return f"the key {self.key} is for other videos; send ids that begin with {self.video_id_prefix}"

    def channel_refusal(self, channel_id: str) -> str | None:
        """Why this caller may not ask for this channel; None if it may."""
        if self.channels is None or channel_id in self.channels:
            return None
        return f"the key {self.key} is for other channels; ask for {', '.join(sorted(self.channels))}, or their videos"


def caller_of(key: Key) -> Caller:
    """The caller who has this key."""
    return Caller(
        project=key.project,
        key=key.id,
        scope=key.scope,
        is_publishable=key.is_publishable,
        kinds=None if not key.kinds or ANY in key.kinds else frozenset(key.kinds),
        video_id_prefix="" if key.video_id_prefix == ANY else key.video_id_prefix,
        channels=frozenset(key.channels) or None,
        is_canary=key.scope == "canary",
        is_strict=key.is_strict,
        has_batch_ids=key.has_batch_ids,
        is_diverted=key.diverted_at is not None,
        events_per_s=key.events_per_s,
        bytes_per_s=key.bytes_per_s,
        names_per_day_max=key.names_per_day_max,
    )
