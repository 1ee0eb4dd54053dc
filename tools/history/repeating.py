"""Shows events that repeat an id and are other events, as slices have recorded them."""

from collections.abc import Iterator
from typing import Any

from udfs.logic.history.manifest import Manifest, hour_start
from udfs.stores.history_store import HistoryStore


def repeats_told(history: HistoryStore, manifest: Manifest, samples: int) -> Iterator[dict[str, Any]]:
    """For each slice with such events its hour of arrival, its partition, their number, and up to `samples` of them."""
    for one in sorted((one for of in manifest.counted.values() for one in of), key=lambda one: one.name):
        if not one.conflicting + one.restamped:
            continue
        table = history.repeats(one.name) if samples else None
        rows = [] if table is None else table.slice(0, samples).to_pylist()
        yield {
            "arrived": f"{hour_start(one.name.hour):%Y-%m-%dT%H:%M:%SZ}",
            "partition": one.name.partition,
            "conflicting": one.conflicting,
            "restamped": one.restamped,
            "samples": [
                {
                    **row,
                    "event_id": row["event_id"].hex(),
                    "viewed_at": row["viewed_at"].isoformat(),
                    "first_viewed_at": row["first_viewed_at"].isoformat(),
                }
                for row in rows
            ],
        }
