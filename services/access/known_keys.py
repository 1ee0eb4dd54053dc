"""The keys that a process knows: those of the file, and what operators have told it since. Pure but for the clock."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from schemas.access_keys import Key, by_id, digest, id_of
from services.access.caller import Caller, caller_of
from services.refused import RefusedError

# No key has this digest. What is not known is compared with it, so that the answer takes the same time.
NOBODY = bytes(32)
TOLD_MAX = 10_000


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What operators have said of a key. It holds until the file says the same."""

    withdrawn_at: datetime | None = None
    diverted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """One key, the digest of its text, and the caller who has it."""

    key: Key
    digest: bytes
    caller: Caller


class KnownKeys:
    """Finds the caller of a key."""

    def __init__(self) -> None:
        self._file: Mapping[str, Key] = {}
        self._told: dict[str, Told] = {}
        self._known: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def replace(self, keys: Iterable[Key]) -> None:
        """Take over a new version of the file."""
        self._file = by_id(keys)
        for key_id, told in list(self._told.items()):
            key = self._file.get(key_id)
            if key is not None and (key.withdrawn_at, key.diverted_at) == (told.withdrawn_at, told.diverted_at):
                del self._told[key_id]
        self._known = {key_id: _known(self._as_told(key)) for key_id, key in self._file.items()}

    def tell(self, key_id: str, told: Told) -> bool:
        """Note what operators say of a key. Returns whether the key is known; what is said is kept in either case."""
        if key_id not in self._told and len(self._told) >= TOLD_MAX:
            del self._told[next(iter(self._told))]
        self._told[key_id] = told
        key = self._file.get(key_id)
        if key is not None:
            self._known[key_id] = _known(self._as_told(key))
        return key is not None

    def ids_of(self, project: str) -> list[str]:
        """The public ids of the keys of a project, also of those that are withdrawn."""
        return sorted(key_id for key_id, known in self._known.items() if known.key.project == project)

    def find(self, text: str) -> Known:
        """The key with this text. Raises RefusedError (401)."""
        known = self._known.get(id_of(text) or "")
        is_right = hmac.compare_digest(NOBODY if known is None else known.digest, digest(text))
        if known is None or not is_right:
            raise RefusedError(401, "the key is not known; check it, or ask whoever runs this service for one")
        key = known.key
        if key.withdrawn_at is not None:
            raise RefusedError(401, f"the key {key.id} was withdrawn; use the one that replaces it")
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise RefusedError(401, f"the key {key.id} has expired; use the one that replaces it")
        return known

    def _as_told(self, key: Key) -> Key:
        told = self._told.get(key.id)
        if told is None:
            return key
        return msgspec.structs.replace(key, withdrawn_at=told.withdrawn_at, diverted_at=told.diverted_at)


def _known(key: Key) -> Known:
    return Known(key, bytes.fromhex(key.sha256), caller_of(key))
