"""Reads and packs a body of ingest by kernels and by Python alone, and compares what becomes of it."""

import uuid
from typing import Any

import mmh3
import msgspec

from schemas.view_records import event_tail
from services.ingest.events import Terms
from services.ingest.idempotency import RequestKey
from services.ingest.packing import Made, Packed, Reach
from services.ingest.taking import Packing, Taken, read
from services.refused import RefusedError
from tests.support.packed_events import events_of

NOW_MS = 1_767_225_600_000
SALTS = 4
TERMS = Terms("default")
# Those of a request with an Idempotency-Key.
KEYED = Terms("default", RequestKey("k", 1_767_225_000_000, is_bounded=False))
TAIL = event_tail(project="default")
ALWAYS, NEVER = 0, 1 << 40


Seen = tuple[Taken, list[str], int, int | None] | str


def taken(media: str, body: bytes, kernel_bytes_min: int, reach: Reach | None = None, terms: Terms = TERMS) -> Seen:
    """(what became of the body, names of unknown fields, number of its events, its sent_at), or why it was refused."""
    packing = Packing(NOW_MS, SALTS, TAIL, reach)
    try:
        reading = read(media, body, terms, packing, unpacked_bytes_max=1 << 20, kernel_bytes_min=kernel_bytes_min)
        result = reading.pack()
    except RefusedError as refused:
        return f"{refused.status} {refused.error}"
    assert reading.total == result.packed.count + len(result.packed.rejected)
    return result, reading.parsed.ignored, reading.readable, reading.parsed.sent_at_ms


def datums(packed: Packed) -> dict[int, bytes]:
    """The datum of every event, by its index. Each must lie at its salt."""
    found = {}
    for salt, index, datum in events_of(packed):
        assert mmh3.hash(datum[:16], 0, signed=False) % SALTS == salt
        found[index] = datum
    return found


def seen(found: Seen) -> tuple[Any, ...]:
    """All that matters of what became of a body, without the ids that chance has made."""
    if isinstance(found, str):
        return (found,)
    of, ignored, readable, sent_at_ms = found
    made = of.made if isinstance(of.made, list) else msgspec.json.decode(of.made, type=list[Made])
    ids = {one.index: uuid.UUID(one.event_id) for one in made}
    assert all(one.version == 4 and one.variant == uuid.RFC_4122 for one in ids.values())
    events = datums(of.packed)
    assert {index: events[index][:16] for index in ids} == {index: one.bytes for index, one in ids.items()}
    assert of.packed.count == len(events)
    rejected = sorted(of.packed.rejected, key=lambda one: one.index)
    return (
        {index: datum[16:] if index in ids else datum for index, datum in events.items()},
        [(one.index, one.viewed_at) for one in made],
        [msgspec.structs.astuple(one) for one in rejected],
        ignored,
        readable,
        sent_at_ms,
        of.packed.late,
        of.packed.has_nobody,
    )


def same(media: str, body: bytes, reach: Reach | None = None, terms: Terms = TERMS) -> tuple[Any, ...]:
    by_kernel = seen(taken(media, body, ALWAYS, reach, terms))
    assert by_kernel == seen(taken(media, body, NEVER, reach, terms))
    return by_kernel
