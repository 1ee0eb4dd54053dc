"""Publishes the manifest in force again after an erasure, so that a process that counted before can publish no more."""

import secrets

import msgspec

from udfs.logic.history.manifest import Owed
from udfs.logic.history.register import manifest_name
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease


def publish_unchanged(history: HistoryStore, lease: Lease, shards: int, now_s: float) -> None:
    """Publish the content of the manifest in force again, with the token of this lease. Does nothing without a history.

    A manifest that an earlier holder of the lease may still write has a lower token, and a restore takes the highest.
    Raises LeaseLostError and HistoryError.
    """
    before = lease.check()
    if not before.manifest:
        return
    name = manifest_name(lease.token, secrets.token_hex(4))
    manifest = history.manifest(before.manifest, shards)
    is_applied = before.applied is not None and before.applied.manifest == before.manifest
    again = msgspec.structs.replace(
        manifest,
        token=lease.token,
        made_ms=int(now_s * 1000),
        # If some rows of the manifest are not written yet, the new manifest names the same missing rows, and the same
        # manifest before it.
        before=before.manifest if is_applied else manifest.before,
        owed=Owed() if is_applied else manifest.owed,
    )
    history.put_manifest(name, again)
    name = lease.publish(name)
    if before.applied is not None and is_applied:
        lease.apply(msgspec.structs.replace(before.applied, manifest=name))
