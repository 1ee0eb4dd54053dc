"""The register of history as a rollup, or nobody yet, has left it. Knows the register's code, and no rollup."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from udfs.logic.history.manifest import Manifest
from udfs.logic.history.register import Applied, Register, manifest_name, nothing_applied, token_of
from udfs.stores.history_register import NAME, CassandraRegisters
from udfs.stores.history_store import HistoryStore

FIRST_TOKEN = 1_000


def register_of(path: str, applied: Applied | None, made: datetime) -> Register:
    """Of a path whose tables have this, made then; nobody holds it."""
    manifest = "" if applied is None else applied.manifest
    return Register(
        path=path,
        made_ms=int(made.timestamp() * 1000),
        token=max(FIRST_TOKEN, token_of(manifest)),
        holder="",
        manifest=manifest,
        kept=(),
        applied=applied,
    )


def put_register(session: Any, path: str, applied: Applied | None = None, *, made: datetime | None = None) -> None:
    """Put one in the place of whatever is in the session's keyspace: by default a new one, before any rollup."""
    has = nothing_applied() if applied is None else applied
    session.execute("DELETE FROM history_register WHERE name = %s IF EXISTS", (NAME,))
    assert CassandraRegisters(session).swap(None, register_of(path, has, made or datetime.now(UTC)))


def put_manifest(store: HistoryStore, manifest: Manifest, *, name: str = "") -> str:
    """Write it under this name, or one that its content alone decides; the name."""
    content = msgspec.json.encode(manifest)
    name = name or manifest_name(manifest.run, hashlib.sha256(content).hexdigest()[:8])
    store.put_manifest(name, manifest)
    return name


def applied_of(name: str, manifest: Manifest, *, late_through_hour: int | None = None, revision: int = 1) -> Applied:
    """What the tables have once all rows of a manifest are in them."""
    return Applied(
        manifest=name,
        revision=revision,
        from_hour=manifest.from_hour,
        through_hour=manifest.through_hour,
        late_through_hour=manifest.through_hour if late_through_hour is None else late_through_hour,
        has_kinds=manifest.has_kinds,
    )
