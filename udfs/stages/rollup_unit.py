"""One unit of a rollup: what it goes on from, and the rows that its manifest owes."""

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
    """What travels to the stages of a rollup: the lease, the manifest in force when it was taken, and Kafka's topic.

    `everything`: a restored history has not been written to the tables yet, so that every row is owed.
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
    """The rows that a manifest owes, on a session of their own."""
    rows = HistoryRows(settings.cassandra, manifest.token)
    try:
        # Rows of older hours would begin to live anew.
        hours_from = manifest.through_hour - (settings.query.hours_kept_days - 1) * DAY_MS // HOUR_MS
        yield TableRows(history, rows, manifest, before, hours_from=hours_from, check=lease.check)
    finally:
        rows.close()


def write_rows_owed(history: HistoryStore, settings: Settings, name: str, lease: Lease) -> Manifest:
    """All rows that the manifest of this name owes, what its own rollup left to do; the manifest."""
    manifest = history.manifest(name, settings.counting.shards)
    before = history.manifest(manifest.before, settings.counting.shards)
    with rows_owed(history, settings, manifest, before, lease) as rows:
        for shard in range(manifest.shards):
            rows.write_shard(shard)
        rows.write_shared()
    return manifest
