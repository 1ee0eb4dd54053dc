"""Compiles every kernel into Numba's cache: `python -m udfs.logic.warm_up`, with NUMBA_CACHE_DIR set.

Set-up and the image run it, so that a worker loads machine code instead of compiling for half a minute.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from schemas import registry
from schemas.values import TIME_MIN_MS
from settings import CountingSettings
from settings.durations import HOUR_MS
from udfs.logic.erasure.erasures import Eraser, asked
from udfs.logic.erasure.viewer_ids import viewer_ids
from udfs.logic.history.viewer_days import viewer_days
from udfs.logic.kernels.hashing import salt_of
from udfs.logic.minutes.closed_minutes import ClosedMinute
from udfs.logic.outgoing.cql_columns import pack_columns
from udfs.logic.outgoing.cql_rows import pack_inserts
from udfs.logic.outgoing.enrichment import Enrichment
from udfs.logic.overflow import object_file
from udfs.logic.ranking.kind_sums import chosen_kinds
from udfs.logic.slices.id_buckets import buckets_of, in_buckets
from udfs.logic.slices.slice_counts import SliceCounter, no_known
from udfs.logic.stream.block_table import Period, Viewers
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.window import ShardWindow
from udfs.logic.wire import event_bodies
from udfs.logic.wire.single_events import Origin, packer_of

EVENTS = 1000
NOW_MS = 1 << 40


def warm_up() -> None:
    """Take a batch the whole way, with a restore, so that each kernel is compiled for the types that it meets."""
    rules = CountingSettings()
    salt = 0
    # There are enough ids and videos to make the tables grow.
    ids = (n.to_bytes(16, "big") for n in range(1, EVENTS * rules.salts))
    events = [
        {"event_id": identity, "video_id": f"v{n}", "viewed_at": NOW_MS, "country": "DE"}
        for n, identity in enumerate(ids)
        if salt_of(np.frombuffer(identity, np.uint8), 0, rules.salts) == salt
    ]
    header = {"batch_id": bytes(16), "producer_id": "", "salt": salt, "salts": rules.salts, "produced_at": NOW_MS}
    value = registry.encode("ViewBatch", {**header, "events": events})
    dedup = SaltDedup(salt, rules)
    outcome = dedup.judge(value, NOW_MS, salt)
    assert outcome.chunk is not None
    assert outcome.unsent is not None
    restored = SaltDedup(salt, rules)
    restored.restore(dedup.header(), [outcome.chunk], [outcome.unsent.tobytes()])
    single = registry.encode("ViewEvent", {**events[0], "kind": "view", "viewed_at": TIME_MIN_MS})
    packer_of("single_object", "", rules.salts, 10).pack([single], Origin([0], [0], [0]), 0)
    event_bodies.warm_up()
    object_file.warm_up()
    viewers = Viewers()
    viewers.put({b"viewer": [Period(0, 1)]})
    slices = SliceCounter(
        rules,
        partition=0,
        partitions=1,
        blocks=viewers.anew().table(),
        late_ms_max=1 << 62,
        viewed_ms_min=-(1 << 62),
        dedups={},
    )
    late = registry.encode("ViewBatch", {**header, "produced_at": NOW_MS + HOUR_MS, "events": events})
    for record_ms, batch in ((NOW_MS, value), (NOW_MS + HOUR_MS, late)):
        slices.count(salt.to_bytes(4, "big"), batch, record_ms)
    counts = slices.finish(lambda _hour, _ids: [no_known()])
    viewer_days([counts.sums.viewers])
    in_buckets(counts.known.ids, counts.known.hours)
    buckets_of(counts.known.ids, 1)
    list(pack_columns([pa.array([""])], bytes(16), key_values=1, rows_max=1, bytes_max=1))
    viewer_ids(salt.to_bytes(4, "big"), value, rules.salts, {bytes(16)})
    nobody = asked(None, "", datetime.now(UTC), blocked=False, unlist=False, reach=timedelta())
    Eraser([nobody]).erase_from(salt.to_bytes(4, "big"), value, 0)
    for element in restored.flush().elements.values():
        window = ShardWindow(rules)
        for key, rows in window.absorb(element):
            ShardWindow(rules).restore(window.header(), [(key, rows)])
            # These are the rows of an open minute as state holds them; here they make a closed one.
            minute = ClosedMinute(np.frombuffer(rows, np.uint8), None, 0)
            chosen_kinds(lambda minute=minute: [minute.rows()], 2, [])  # type: ignore[misc]
        for rows in window.emit().counts:
            list(pack_inserts(rows, bytes(16), rows_max=200, partitions_max=20, bytes_max=32 << 10))
            Enrichment().enrich(rows)
        window.rank()


if __name__ == "__main__":
    warm_up()
