"""What a drainer writes of an object: batches by the declaration in force, and letters for what is too old.

The events keep their ids and times, so an object that is drained twice changes nothing: within a generation the second
event is a duplicate, and after it a late one that the rollup adds once.
"""

from typing import NamedTuple

import mmh3
import numpy as np

from schemas.declaration import Declaration
from schemas.values import ID_BYTES
from schemas.view_records import Origin
from udfs.logic.overflow.object_file import ObjectEvents
from udfs.logic.stream.dedup import Rejected
from udfs.logic.stream.rejected import letters
from udfs.logic.wire.single_events import Origin as Places
from udfs.logic.wire.single_events import Packer

TOO_OLD = "too_old"
# A record is written some seconds after the drainer has judged its events.
MARGIN_MS = 60_000


class Batch(NamedTuple):
    """A record to write: its salt, its value, and the number of its events."""

    salt: int
    value: bytes
    events: int


class Part(NamedTuple):
    """What becomes of the events of one partition. It is written as a whole, or again.

    `letters` are dead letters for events that nobody would count: `too_old` of them were viewed too long ago.
    """

    batches: list[Batch]
    letters: list[bytes]
    events: int
    too_old: int
    refused: int


def parts_of(
    events: ObjectEvents,
    name: str,
    declared: Declaration,
    *,
    now_ms: int,
    late_ms: int,
    batch_events_max: int,
    producer_id: str,
) -> dict[int, Part]:
    """Decide what is written of the object of this name at `now_ms`, by partition.

    `late_ms` is how long after its view an event is still added by history.
    """
    is_old = events.viewed_ms < now_ms - late_ms + MARGIN_MS
    fresh = np.nonzero(~is_old)[0].tolist()
    packer = Packer(declared.salts, batch_events_max, has_tails=True, producer_id=producer_id, made_by=Origin.OVERFLOW)
    # A place is needed only for events without an id or a time.
    nowhere = [0] * len(fresh)
    packed = packer.pack([events.datums[row] for row in fresh], Places(nowhere, nowhere, nowhere), now_ms)
    batches: dict[int, list[Batch]] = {}
    for salt, value, count in packed.batches:
        batches.setdefault(salt % declared.partitions, []).append(Batch(salt, value, count))
    bad = [(row, TOO_OLD) for row in np.nonzero(is_old)[0].tolist()]
    bad += [(fresh[row], reason) for row, reason in packed.refused]
    rejected: dict[int, list[Rejected]] = {}
    for row, reason in sorted(bad):
        salt = mmh3.hash(events.datums[row][:ID_BYTES], 0, signed=False) % declared.salts
        one = Rejected(row, reason, events.without_viewer(row))
        rejected.setdefault(salt % declared.partitions, []).append(one)
    return {
        partition: _part(name, partition, batches.get(partition, []), rejected.get(partition, []), now_ms)
        for partition in sorted({*batches, *rejected})
    }


def _part(name: str, partition: int, batches: list[Batch], rejected: list[Rejected], now_ms: int) -> Part:
    made = list(letters(f"overflow/{name}", partition, 0, now_ms, None, rejected)) if rejected else []
    too_old = sum(one.reason == TOO_OLD for one in rejected)
    return Part(batches, made, sum(one.events for one in batches), too_old, len(rejected) - too_old)
