"""Makes Avro of the events of a body, by kernels if the body is in a common form. Knows no HTTP and no Kafka.

The kernels take an event only if services.ingest.events and packing would make the same bytes of it. All others are
read by those two, as they are if no kernel takes part: what an event becomes, and what its rejection says, is decided
there alone.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from schemas.values import ID_BYTES
from services.access.caller import Caller
from services.ingest.allowed import only_allowed
from services.ingest.container import read_own_blocks, unknown_fields
from services.ingest.events import BodyError, Parsed, Terms, ViewEvent, parse_json, parse_ndjson
from services.ingest.forms import AVRO_TYPES, JSON_TYPES, NDJSON_TYPES, parse
from services.ingest.packing import NO_TAIL, Made, Packed, Reach, in_time_from_ms, pack, time_bounds
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS
from udfs.logic.wire.event_bodies import Bounds, EventRows, read_avro, read_json

# Below this size, a call of the kernels costs more than what they save.
KERNEL_BYTES_MIN = 1 << 10
ANYBODY = Caller("default")

_MADE = msgspec.json.Decoder(list[Made])


class Packing(NamedTuple):
    """With what the events of a body are packed; see `pack`."""

    now_ms: int
    salts: int
    tail: bytes = NO_TAIL
    reach: Reach | None = None
    own_tail: Callable[[str], bytes] | None = None
    country: str | None = None


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

    @property
    def has_agents(self) -> bool:
        """Whether some event has a user agent of its own."""
        return any(event.user_agent is not None for event in self.parsed.events)

    def pack(self) -> Taken:
        """Encode the events. Call it once."""
        rows, parsed = self.rows, self.parsed
        if rows is None:
            packed = self._packed(parsed.events, parsed.indexes, self.packing.tail)
            packed.rejected = parsed.rejected + packed.rejected
            return Taken(packed, packed.made)
        rejected = parsed.rejected
        made: list[Made] = []
        has_nobody = rows.has_nobody
        late = rows.taken_before(in_time_from_ms(self.packing.now_ms, self.packing.reach))
        apart: Packed | None = None
        if parsed.events:
            by_hand = self._packed(*self._events(with_own_tail=False), b"")
            rejected = rejected + by_hand.rejected
            made = by_hand.made
            late = sorted(late + by_hand.late)
            has_nobody = has_nobody or by_hand.has_nobody
            rows.put(by_hand.blocks, by_hand.ends, by_hand.indexes)
            apart = self._packed(*self._events(with_own_tail=True), b"")
        found = rows.sorted(self.packing.tail, os.urandom(ID_BYTES * rows.ids_missing()))
        count = sum(map(len, found.indexes))
        packed = Packed(found.blocks, found.ends, found.indexes, rejected, made, count, late, has_nobody)
        if apart is not None:
            packed.add(apart)
        return Taken(packed, _all_made(found.made, packed.made))

    def _events(self, *, with_own_tail: bool) -> tuple[Sequence[ViewEvent], Sequence[int]]:
        """Those of the parsed events that end with a tail of their own, or the others, with their indexes."""
        events, indexes = self.parsed.events, self.parsed.indexes
        if self.packing.own_tail is None:
            return ((), ()) if with_own_tail else (events, indexes)
        places = [place for place, one in enumerate(events) if (one.user_agent is not None) is with_own_tail]
        return [events[place] for place in places], [indexes[place] for place in places]

    def _packed(self, events: Sequence[ViewEvent], indexes: Sequence[int], tail: bytes) -> Packed:
        packing = self.packing
        return pack(
            events,
            indexes,
            now_ms=packing.now_ms,
            salts=packing.salts,
            tail=tail,
            reach=packing.reach,
            own_tail=packing.own_tail,
            country=packing.country,
        )


def read(
    media: str,
    body: bytes,
    terms: Terms,
    packing: Packing,
    caller: Caller = ANYBODY,
    *,
    unpacked_bytes_max: int,
    kernel_bytes_min: int = KERNEL_BYTES_MIN,
) -> Reading:
    """Read a body. Events that its caller may not send are rejected.

    Raises RefusedError (400) if nothing in the body can be read.
    """
    reading = _read(media, body, terms, packing, caller, unpacked_bytes_max, kernel_bytes_min)
    reading.parsed = only_allowed(caller, reading.parsed)
    return reading


def _read(
    media: str,
    body: bytes,
    terms: Terms,
    packing: Packing,
    caller: Caller,
    unpacked_bytes_max: int,
    kernel_bytes_min: int,
) -> Reading:
    # The kernels leave every kind that could be reserved.
    # What a key may name in a day is bounded by services.ingest.novelty, which reads events one by one.
    may_all = caller.names_all_but_canaries and not caller.counts_names
    is_common = len(body) >= kernel_bytes_min and may_all
    # The kernels write no country but that of an event.
    is_common = is_common and packing.country is None
    if is_common and media in JSON_TYPES | NDJSON_TYPES:
        reading = _by_kernel(body, terms, packing, is_lines=media in NDJSON_TYPES)
        if reading is not None:
            return reading
    # A strict reading refuses schemas with unknown fields, as a later version of the product's own has them.
    if is_common and media in AVRO_TYPES and not terms.is_strict:
        reading = _avro_by_kernel(body, packing, unpacked_bytes_max)
        if reading is not None:
            return reading
    return Reading(parse(media, body, terms, unpacked_bytes_max=unpacked_bytes_max), packing)


def _bounds(packing: Packing) -> Bounds:
    return Bounds(packing.now_ms, *time_bounds(packing.now_ms, packing.reach))


def _avro_by_kernel(body: bytes, packing: Packing, unpacked_bytes_max: int) -> Reading | None:
    """None if the body is in no common form, or some of its events are not."""
    own = read_own_blocks(body, unpacked_bytes_max=unpacked_bytes_max)
    if own is None:
        return None
    rows = read_avro(own.blocks, own.counts, OPTIONAL_TEXTS[own.version], _bounds(packing), packing.salts)
    return None if rows is None else Reading(Parsed([], [], ignored=[*unknown_fields(own.version)]), packing, rows)


def _by_kernel(body: bytes, terms: Terms, packing: Packing, *, is_lines: bool) -> Reading | None:
    """None if the body is in no common form, or the kernel has taken no event."""
    bounds = _bounds(packing)
    rows = read_json(body, bounds, packing.salts, is_lines=is_lines)
    if rows is None or rows.taken == 0:
        return None
    # An Idempotency-Key makes ids of places and bytes of events, which are not in rows.
    if terms.key is not None and rows.ids_missing():
        return None
    # Another list of events would replace this one.
    if rows.rest is not None and (b"\\" in rows.rest or b'"events"' in rows.rest):
        return None
    if not rows.left and rows.rest is None:
        return Reading(Parsed([], []), packing, rows)
    try:
        left = _left(rows, replace(terms, key=None), is_lines=is_lines)
    # The body is not JSON at the place of such an event, so it cannot be read as a whole.
    except BodyError:
        return None
    if terms.key is not None and any(event.event_id is None for event in left.events):
        return None
    return Reading(left, packing, rows)


def _left(rows: EventRows, terms: Terms, *, is_lines: bool) -> Parsed:
    """Read what the kernel has left, as a body of its own. The indexes of events are those in the whole body.

    Raises BodyError if one of them is no JSON.
    """
    texts = rows.texts_left()
    if is_lines:
        parsed = parse_ndjson(b"\n".join(texts), terms)
    else:
        parsed = parse_json(b'{"events":[%b]%b' % (b",".join(texts), b"}" if rows.rest is None else rows.rest), terms)
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
