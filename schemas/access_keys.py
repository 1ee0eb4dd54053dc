"""The file of keys: what it says of each key, how a key looks, and which entries are refused. Pure.

A key is `vc_<scope>_<id>_<secret>`. Its id is public: lists, logs and records show it. Its secret has 128 bits, and the
file holds the SHA-256 of the whole key in its place, which is enough: nobody can try all secrets of that length.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.kinds import BLOCKED_PREFIX, CANARY_PREFIX

Scope = Literal["write", "read", "admin", "canary", "pubwrite", "pubread"]
# Keys that a page shows to everybody: they can write, or read totals, and nothing else.
PUBLISHABLE: Final[frozenset[str]] = frozenset({"pubwrite", "pubread"})
ANY = "*"
SECRET_BYTES = 16
ID_BYTES = 6
VERSION = 1
# Each name takes memory in each process.
NAMES_PER_DAY_MAX = 10_000_000

_KEY = re.compile(r"vc_(write|read|admin|canary|pubwrite|pubread)_([a-z0-9]{6,32})_([0-9a-f]{32})")
_ID = re.compile(r"[a-z0-9]{6,32}")
_Hex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Project = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$")]


class KeyFileError(ValueError):
    """The file of keys cannot be used. The text names the key and the field, and says what to do."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One key, without its secret."""

    id: Annotated[str, Meta(pattern="^[a-z0-9]{6,32}$")]
    scope: Scope
    project: _Project
    sha256: _Hex
    created_at: datetime
    expires_at: datetime | None = None
    withdrawn_at: datetime | None = None
    # Since when what the key writes goes to a topic apart.
    diverted_at: datetime | None = None
    # The kinds that the key may write or read; empty for all that are not reserved. "*" for a publishable key.
    kinds: tuple[str, ...] = ()
    # The origins of pages that may use a publishable key.
    origins: tuple[str, ...] = ()
    # What the ids of its videos begin with; empty for any. "*" for a publishable key.
    video_id_prefix: str = ""
    # The channels that it may ask for, and whose videos; empty for any.
    channels: tuple[str, ...] = ()
    # Whether events with unknown fields are rejected.
    is_strict: bool = False
    # Whether an answer names the batches into which the events went, for a request that asks for it.
    has_batch_ids: bool = False
    # None for the limits that are settings.
    events_per_s: Annotated[float, Meta(gt=0)] | None = None
    bytes_per_s: Annotated[float, Meta(gt=0)] | None = None
    # How many different videos, each with each of its kinds, it may name in a day. None for the limit that is a setting
    # if the key is publishable, and for no limit if it is not.
    names_per_day_max: Annotated[int, Meta(ge=1, le=NAMES_PER_DAY_MAX)] | None = None

    @property
    def is_publishable(self) -> bool:
        """Whether everybody can know the key."""
        return self.scope in PUBLISHABLE


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    keys: tuple[Key, ...]


_DECODER = msgspec.json.Decoder(KeyFile)


def decode(content: bytes) -> tuple[Key, ...]:
    """The keys of a file. Raises KeyFileError."""
    try:
        file = _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"the file of keys is not as it should be: {error}") from error
    if file.version != VERSION:
        raise KeyFileError(f"the file of keys has version {file.version}, and this release reads {VERSION}")
    seen: set[str] = set()
    for key in file.keys:
        if key.id in seen:
            raise KeyFileError(f"the file of keys has the id {key.id} twice; remove one")
        seen.add(key.id)
        check(key)
    return file.keys


def encode(keys: Iterable[Key]) -> bytes:
    """The file with these keys."""
    return msgspec.json.format(msgspec.json.encode(KeyFile(VERSION, tuple(keys))), indent=1) + b"\n"


def check(key: Key) -> None:
    """Raise KeyFileError if the key could do what none of its scope may."""
    for field in ("created_at", "expires_at", "withdrawn_at", "diverted_at"):
        at: datetime | None = getattr(key, field)
        if at is not None and at.tzinfo is None:
            raise KeyFileError(f"key {key.id}: {field}={at.isoformat()} has no offset; add one, such as Z")
    for kind in key.kinds:
        if kind.startswith(BLOCKED_PREFIX):
            raise KeyFileError(f"key {key.id}: the kind {kind} is reserved for what the job itself counts; remove it")
        if kind.startswith(CANARY_PREFIX) and key.scope != "canary":
            raise KeyFileError(f"key {key.id}: the kind {kind} is for keys of the scope canary; remove it")
    if key.channels and key.scope not in ("read", "pubread"):
        raise KeyFileError(f"key {key.id}: channels are for keys of the scopes read and pubread; leave them out")
    if "" in key.channels or ANY in key.channels:
        raise KeyFileError(f"key {key.id}: channels={list(key.channels)}: name channels, or leave them out for any")
    if not key.is_publishable:
        if ANY in key.kinds or key.video_id_prefix == ANY:
            raise KeyFileError(f"key {key.id}: * is for publishable keys; leave kinds and video_id_prefix out for all")
        return
    for field in ("kinds", "origins", "video_id_prefix"):
        if not getattr(key, field):
            raise KeyFileError(f"key {key.id}: a publishable key must name {field}; say * if it may be any")
    for origin in key.origins:
        if origin != ANY and not re.fullmatch(r"https?://[^/\s*,]+", origin):
            raise KeyFileError(f"key {key.id}: {origin} is no origin; send one like https://www.example.com")


def new_key(scope: Scope, project: str, *, now: datetime | None = None) -> tuple[Key, str]:
    """A new key that may do all that its scope may, and its text, which nobody can find out later."""
    key_id = secrets.token_hex(ID_BYTES)
    text = f"vc_{scope}_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    created_at = (now or datetime.now(UTC)).replace(microsecond=0)
    return Key(id=key_id, scope=scope, project=project, sha256=digest(text).hex(), created_at=created_at), text


def digest(text: str) -> bytes:
    """The SHA-256 of a key."""
    return hashlib.sha256(text.encode()).digest()


def is_id(text: str) -> bool:
    """Whether a key can have this id."""
    return _ID.fullmatch(text) is not None


def id_of(text: str) -> str | None:
    """The id of what has the form of a key, and otherwise None."""
    found = _KEY.fullmatch(text)
    return None if found is None else found.group(2)


def by_id(keys: Iterable[Key]) -> Mapping[str, Key]:
    """The keys by their ids."""
    return {key.id: key for key in keys}
