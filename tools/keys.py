"""Changes the file of keys, and tells running processes of a change."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx2
import msgspec
from redis import RedisError

from connectors.key_file import change_keys, read_keys
from connectors.key_use import read_uses
from schemas.access_keys import ANY, Key, KeyFileError, Scope, decode, encode, new_key
from settings import RedisSettings, Settings

ADMIN_KEY_VARIABLE = "VC_ADMIN_KEY"
TIMEOUT_S = 5.0
# Fields of a key that the table shows where they say something.
HELD_TO = ("kinds", "origins", "video_id_prefix", "channels", "names_per_day_max")


def add_key(
    path: Path,
    *,
    scope: str,
    project: str,
    kinds: Sequence[str],
    origins: Sequence[str],
    video_prefixes: Sequence[str],
    channels: Sequence[str] = (),
    expires_at: datetime | None,
    **more: Any,
) -> str:
    """Add a key to the file, and return its text. Raises KeyFileError."""
    if scope not in get_args(Scope):
        raise KeyFileError(f"--scope={scope} is not one of {', '.join(get_args(Scope))}")
    made, text = new_key(scope, project)  # type: ignore[arg-type]
    prefixes = _said("--video-prefix", video_prefixes)
    if len(prefixes) > 1:
        raise KeyFileError(f"--video-prefix={prefixes[1]} is a second one; a key has one, so make another key for it")
    key = msgspec.structs.replace(
        made,
        kinds=_said("--kind", kinds),
        origins=_said("--origin", origins),
        video_id_prefix=prefixes[0] if prefixes else "",
        channels=_said("--channel", channels),
        expires_at=None if expires_at is None else expires_at.replace(tzinfo=UTC),
        **more,
    )
    # As each process reads it: a value out of its bounds would make the whole file unreadable.
    decode(encode([key]))
    change_keys(path, lambda keys: (*keys, key))
    return text


def mark(path: Path, key_id: str, field: str, *, undo: bool) -> Key:
    """Note in the file since when the key is withdrawn or diverted, or that it is no more. Raises KeyFileError."""
    at = None if undo else datetime.now(UTC).replace(microsecond=0)

    def change(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        if key_id not in {key.id for key in keys}:
            known = ", ".join(key.id for key in keys) or "none"
            raise KeyFileError(f"there is no key {key_id} in {path}; there are: {known}")
        return tuple(msgspec.structs.replace(key, **{field: at}) if key.id == key_id else key for key in keys)

    return next(key for key in change_keys(path, change) if key.id == key_id)


def tell_all(key: Key, processes: Iterable[str], warn: Callable[[str], None]) -> int:
    """Tell these processes what the file now says of the key. Returns how many could not be told.

    `warn` is called with a line for each of them. They learn it from the file as soon as that reaches them.
    """
    failures = 0
    body = msgspec.json.encode({"withdrawn_at": key.withdrawn_at, "diverted_at": key.diverted_at})
    headers = {"Authorization": f"Bearer {os.environ.get(ADMIN_KEY_VARIABLE, '')}", "Content-Type": "application/json"}
    for name in processes:
        try:
            for address in _addresses(name):
                url = f"http://{address}/v1/keys/{key.id}"
                httpx2.post(url, content=body, headers=headers, timeout=TIMEOUT_S, trust_env=False).raise_for_status()
        except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failures += 1
            warn(f"--tell {name}: {error}; it learns the change when the file of keys reaches it")
    return failures


def shown(settings: Settings, *, as_json: bool) -> str:
    """All keys as a table, or as JSON without the hashes. Their last use is there if Redis knows it."""
    uses = _uses(settings.redis)
    rows = [{**_row(key), "last_use": uses.get(key.id)} for key in read_keys(Path(settings.access.keys_file))]
    if as_json:
        return json.dumps(rows, indent=1)
    lines = ["id            scope     project       state      expires               last use              held to"]
    for row in rows:
        held = " ".join(f"{name}={row[name]}" for name in HELD_TO if row[name])
        lines.append(
            f"{row['id']:<13} {row['scope']:<9} {row['project']:<13} {row['state']:<10} {row['expires_at'] or '-':<21} "
            f"{row['last_use'] or '-':<21} {held or '-'}"
        )
    return "\n".join(lines)


def _uses(settings: RedisSettings) -> dict[str, str]:
    if not settings.host:
        return {}
    try:
        found = asyncio.run(read_uses(settings))
    except (RedisError, OSError):
        # It may be lost at any time, so nobody may need it.
        return {}
    return {key_id: f"{at:%Y-%m-%dT%H:%M:%SZ}" for key_id, at in found.items()}


def _row(key: Key) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(key)
    row = {name: row.get(name) for name in ("id", "scope", "project", "created_at", "expires_at")}
    row |= {"kinds": list(key.kinds), "origins": list(key.origins), "video_id_prefix": key.video_id_prefix}
    row |= {"channels": list(key.channels)}
    return {**row, "names_per_day_max": key.names_per_day_max, "state": _state(key)}


def _state(key: Key) -> str:
    if key.withdrawn_at is not None:
        return "withdrawn"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "diverted" if key.diverted_at is not None else "valid"


def _said(option: str, values: Sequence[str]) -> tuple[str, ...]:
    """The values of an option. `*` opens a key to everything, so it must be said twice, and alone."""
    if ANY not in values:
        return tuple(dict.fromkeys(values))
    if set(values) != {ANY}:
        raise KeyFileError(f"{option}: * is any, so that no other value may stand beside it")
    if len(values) < 2:
        raise KeyFileError(
            f"{option}=* opens the key to any; if that is meant, say it twice: {option} '*' {option} '*'"
        )
    return (ANY,)


def _addresses(name: str) -> list[str]:
    """All addresses of host:port, as they stand in a URL."""
    host, _, port = name.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is not host:port")
    found = {info[4][0] for info in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)}
    return [f"[{one}]:{port}" if ":" in str(one) else f"{one}:{port}" for one in sorted(map(str, found))]
