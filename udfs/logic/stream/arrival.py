"""Finds when a record of the events topic arrived, as far as the record alone tells."""

import numpy as np

from settings import CountingSettings
from udfs.logic.stream.time_rules import PRODUCED_MS_MIN, append_time
from udfs.logic.wire.batch_scan import Unreadable, scan


def salt_in(key: bytes | None, partition: int, *, salts: int, partitions: int) -> int:
    """Return the salt that a record's key names, or -1 - partition if it names no salt of that partition.

    The stream keys records in the same way.
    """
    salt = int.from_bytes(key, "big") if key is not None and len(key) == 4 else -1
    return salt if 0 <= salt < salts and salt % partitions == partition else -1 - partition


def arrived_ms(
    key: bytes | None,
    value: bytes | None,
    record_ms: int,
    *,
    partition: int,
    partitions: int,
    rules: CountingSettings,
) -> int | None:
    """Return the append time to which a record moves its salt, unless that is later already.

    The result is None for a record that does not move its salt. `rules`, `partition` and `partitions` are those of the
    topic; times are in ms.
    """
    salt = salt_in(key, partition, salts=rules.salts, partitions=partitions)
    batch = scan(np.frombuffer(value or b"", np.uint8), salt, rules.salts)
    if isinstance(batch, Unreadable) or batch.produced_ms < PRODUCED_MS_MIN:
        return None
    return append_time(record_ms, batch.produced_ms, 0, rules.clock_ahead_ms)
