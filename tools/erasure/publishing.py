"""The manifest in force, put in force again by whoever has erased: nobody who counted before can publish any more."""

import secrets

import msgspec

from udfs.logic.history.manifest import Owed
from udfs.logic.history.register import manifest_name
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease


def publish_unchanged(history: HistoryStore, lease: Lease, shards: int, now_s: float) -> None:
    """Publish what the manifest in force says under the lease's own token; with no history yet, nothing.

    Whatever a holder before this one still puts beside it is older, and a restore takes the newest. Raises
    LeaseLostError and HistoryError.
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
        # Rows that the manifest still owes are owed by this one, against the same manifest before it.
        before=before.manifest if is_applied else manifest.before,
        owed=Owed() if is_applied else manifest.owed,
    )
    history.put_manifest(name, again)
    name = lease.publish(name)
    if before.applied is not None and is_applied:
        lease.apply(msgspec.structs.replace(before.applied, manifest=name))
