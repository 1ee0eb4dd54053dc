"""One unit of a rollup: where it begins, and the rows that its manifest owes."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from settings import Settings
from settings.durations import DAY_MS, HOUR_MS
from udfs.logic.history.manifest import Manifest
from udfs.sinks.history_rows import HistoryRows
from udfs.stages.table_rows import TableRows
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import HeldLease, Lease


class RollupUnit(msgspec.Struct, frozen=True):
    """What all stages of a rollup get: the lease, the manifest in force when it was taken, and Kafka's id of the topic.

    `everything` says that all rows are owed, because a restored history has not been written to the tables yet.
    """

    held: HeldLease
    before_name: str
    before: Manifest
    everything: bool = False
    topic_id: str = ""


@contextmanager
def rows_owed(
    history: HistoryStore, settings: Settings, manifest: Manifest, before: Manifest | None, lease: Lease
) -> Iterator[TableRows]:
    """Return the rows that a manifest owes, with a session that is closed at the end."""
    rows = HistoryRows(settings.cassandra, manifest.token)
    try:
        # Older rows are about to expire. Writing them again would begin their time to live again.
        hours_from = manifest.through_hour - (settings.query.hours_kept_days - 1) * DAY_MS // HOUR_MS
        yield TableRows(history, rows, manifest, before, hours_from=hours_from, check=lease.check)
    finally:
        rows.close()


def write_rows_owed(history: HistoryStore, settings: Settings, name: str, lease: Lease) -> Manifest:
    """Write all rows that the manifest of this name still owes because its rollup has died. Return the manifest."""
    manifest = history.manifest(name, settings.counting.shards)
    before = history.manifest(manifest.before, settings.counting.shards)
    with rows_owed(history, settings, manifest, before, lease) as rows:
        for shard in range(manifest.shards):
            rows.write_shard(shard)
        rows.write_shared()
    return manifest
