"""Makes Avro of the events of a body, by kernels if the body is in a common form. Knows no HTTP and no Kafka.

The kernels take an event only if services.ingest.events and packing would make the same bytes of it. All others are
read by those two, as they are if no kernel takes part: what an event becomes, and what its rejection says, is decided
there alone.
"""

import os
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from schemas.values import ID_BYTES
from services.ingest.events import BodyError, Parsed, Terms, parse_json, parse_ndjson
from services.ingest.forms import JSON_TYPES, NDJSON_TYPES, parse
from services.ingest.packing import NO_TAIL, Made, Packed, Reach, pack, time_bounds
from udfs.logic.wire.event_bodies import Bounds, EventRows, read_json

# Below this size, a call of the kernels costs more than what they save.
KERNEL_BYTES_MIN = 2048

_MADE = msgspec.json.Decoder(list[Made])


class Packing(NamedTuple):
    """With what the events of a body are packed; see `pack`."""

    now_ms: int
    salts: int
    tail: bytes = NO_TAIL
    reach: Reach | None = None


@dataclass(slots=True)
class Taken:
    """The events of a body by salt with all its rejections, and what was made for it.

    `made` is a list of Made, or the same list in JSON.
    """

    packed: Packed
    made: list[Made] | msgspec.Raw


@dataclass(slots=True)
class Reading:
    """A body that was read. `parsed` has the events that the kernels have left, and `rows` the others, if any."""

    parsed: Parsed
    packing: Packing
    rows: EventRows | None = None

    @property
    def readable(self) -> int:
        """How many events could be read."""
        return len(self.parsed.events) + (0 if self.rows is None else self.rows.taken)

    @property
    def total(self) -> int:
        """How many events the body has."""
        return self.readable + len(self.parsed.rejected)

    def pack(self) -> Taken:
        """Encode the events. Call it once."""
        rows = self.rows
        by_hand = self._packed(b"" if rows else self.packing.tail)
        rejected = self.parsed.rejected + by_hand.rejected
        if rows is None:
            by_hand.rejected = rejected
            return Taken(by_hand, by_hand.made)
        for salt, indexes in enumerate(by_hand.indexes):
            if indexes:
                rows.put(salt, by_hand.blocks[salt], by_hand.ends[salt], indexes)
        found = rows.sorted(self.packing.tail, os.urandom(ID_BYTES * rows.ids_missing()))
        count = sum(map(len, found.indexes))
        packed = Packed(found.blocks, found.ends, found.indexes, rejected, by_hand.made, count)
        return Taken(packed, _all_made(found.made, by_hand.made))

    def _packed(self, tail: bytes) -> Packed:
        parsed, packing = self.parsed, self.packing
        return pack(
            parsed.events, parsed.indexes, now_ms=packing.now_ms, salts=packing.salts, tail=tail, reach=packing.reach
        )


def read(
    media: str,
    body: bytes,
    terms: Terms,
    packing: Packing,
    *,
    unpacked_bytes_max: int,
    kernel_bytes_min: int = KERNEL_BYTES_MIN,
) -> Reading:
    """Read a body. Raises RefusedError (400) if nothing in it can be read."""
    # An Idempotency-Key makes ids of the bytes of each event.
    if len(body) >= kernel_bytes_min and terms.key is None and media in JSON_TYPES | NDJSON_TYPES:
        reading = _by_kernel(body, terms, packing, is_lines=media in NDJSON_TYPES)
        if reading is not None:
            return reading
    return Reading(parse(media, body, terms, unpacked_bytes_max=unpacked_bytes_max), packing)


def _by_kernel(body: bytes, terms: Terms, packing: Packing, *, is_lines: bool) -> Reading | None:
    """None if the body is in no common form, or the kernel has taken no event."""
    bounds = Bounds(packing.now_ms, *time_bounds(packing.now_ms, packing.reach))
    rows = read_json(body, bounds, packing.salts, is_lines=is_lines)
    if rows is None or rows.taken == 0:
        return None
    if not rows.left:
        return Reading(Parsed([], []), packing, rows)
    try:
        return Reading(_left(rows, terms, is_lines=is_lines), packing, rows)
    # The body is not JSON at the place of such an event, so it cannot be read as a whole.
    except BodyError:
        return None


def _left(rows: EventRows, terms: Terms, *, is_lines: bool) -> Parsed:
    """Read the events that the kernel has left, as a body of their own. Their indexes are those in the whole body.

    Raises BodyError if one of them is no JSON.
    """
    texts = rows.texts_left()
    if is_lines:
        parsed = parse_ndjson(b"\n".join(texts), terms)
    else:
        parsed = parse_json(b'{"events":[%b]}' % b",".join(texts), terms)
    places = rows.left
    parsed.indexes = [places[index] for index in parsed.indexes]
    for rejection in parsed.rejected:
        rejection.index = places[rejection.index]
    return parsed


def _all_made(by_kernel: bytes, by_hand: list[Made]) -> list[Made] | msgspec.Raw:
    if not by_kernel:
        return by_hand
    if not by_hand:
        return msgspec.Raw(by_kernel)
    return sorted(_MADE.decode(by_kernel) + by_hand, key=lambda made: made.index)
