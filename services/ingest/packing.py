"""Encodes valid events as Avro bytes, sorted by salt. Knows no HTTP and no Kafka; the time is an argument.

The bytes are those of schemas/avro/ViewEvent.v2 and ViewBatch.v2. A template puts them together in a quarter of the
time that a general encoder takes; tests/property compares them with fastavro's.

`pack` is one long function on purpose. It is the measured hot path of ingest, and a call for each field would cost time
for every event. Whoever splits it measures the service before and after.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Annotated

import mmh3
import msgspec
from msgspec import Meta

from schemas.kinds import BLOCKED_PREFIX
from schemas.limits import (
    COUNTRY_BYTES_MAX,
    DEVICE_BYTES_MAX,
    KIND_BYTES_MAX,
    VIDEO_ID_BYTES_MAX,
    VIEWER_ID_BYTES_MAX,
)
from schemas.topics import RECORD_BYTES_MAX
from schemas.values import (
    ID_BYTES,
    ID_RESERVED,
    RESERVED_IDS,
    TIME_END_MS,
    TIME_MIN_MS,
    TIME_MISSING,
    TIME_RANGE,
    ValueFormError,
    time_ms,
    time_of_id,
)
from schemas.varint import varint
from schemas.view_records import Origin, batch_head, event_tail, optional_text
from schemas.viewers import is_no_viewer
from services.ingest.events import ViewEvent
from services.ingest.rejections import Rejection, rejection
from settings.durations import MINUTE_MS

# The encoded length of every string that an event may have is looked up.
_LENGTHS = range(max(VIDEO_ID_BYTES_MAX, KIND_BYTES_MAX, VIEWER_ID_BYTES_MAX, COUNTRY_BYTES_MAX, DEVICE_BYTES_MAX) + 1)
_LENGTH = [varint(n) for n in _LENGTHS]
_SOME_LENGTH = [b"\x02" + varint(n) for n in _LENGTHS]
_LOW_14_BITS = [bytes((n & 127 | 128, n >> 7 | 128)) for n in range(1 << 14)]
_NONE = b"\x00"
_END_OF_EVENTS = b"\x00"
# Of a salt without events. Nobody changes it.
_NOWHERE: list[int] = []
_VIEW = _LENGTH[4] + b"view"
# How long the tail of an event may be that `pack` appends.
TAIL_BYTES_MAX = 256
# The length of the longest encoded event: id, time (of 43 bits in 2099), for each string at most 3 bytes of branch and
# length, each string at its limit, and the tail.
EVENT_BYTES_MAX = (
    ID_BYTES
    + 7
    + 5 * 3
    + VIDEO_ID_BYTES_MAX
    + KIND_BYTES_MAX
    + VIEWER_ID_BYTES_MAX
    + COUNTRY_BYTES_MAX
    + DEVICE_BYTES_MAX
    + TAIL_BYTES_MAX
)
# Before its events, a record of Kafka has less than this.
HEADER_BYTES_MAX = 1 << 12
# So many events are never too large for a record.
RECORD_EVENTS_MAX = (RECORD_BYTES_MAX - HEADER_BYTES_MAX) // EVENT_BYTES_MAX
NO_TAIL = event_tail()
_RESERVED_KIND = f'begins with "{BLOCKED_PREFIX}", which is reserved for blocked viewers'


class Made(msgspec.Struct):
    """What the service made for an event that came without an id. Whoever sends the event again sends these."""

    index: Annotated[int, Meta(description="The place of the event in the body, from 0.")]
    event_id: Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
    viewed_at: Annotated[int, Meta(description="ms since 1970, UTC")]


@dataclass(slots=True)
class Packed:
    """Events in Avro by salt. `count` is their number.

    `blocks[s]` has the events of salt s one after the other. Event n of it ends at `ends[s][n]`, and is at
    `indexes[s][n]` of the body.
    """

    blocks: list[bytes]
    ends: list[Sequence[int]]
    indexes: list[list[int]]
    rejected: list[Rejection]
    made: list[Made]
    count: int
    # The indexes of the events that come late.
    late: list[int] = field(default_factory=list)
    # Whether some event was packed without its viewer_id, since that names no viewer.
    has_nobody: bool = False

    def add(self, other: "Packed") -> None:
        """Add other events of the same body, for as many salts."""
        for salt, added in enumerate(other.indexes):
            if not added:
                continue
            # Within a salt, events lie in the order of the body.
            datums = sorted([*_datums(self, salt), *_datums(other, salt)])
            self.blocks[salt] = b"".join(datum for _, datum in datums)
            self.ends[salt] = list(accumulate(len(datum) for _, datum in datums))
            self.indexes[salt] = [index for index, _ in datums]
        self.rejected = self.rejected + other.rejected
        self.made = sorted(self.made + other.made, key=lambda made: made.index)
        self.late = sorted(self.late + other.late)
        self.has_nobody = self.has_nobody or other.has_nobody
        self.count += other.count


@dataclass(frozen=True, slots=True)
class Reach:
    """How far `viewed_at` may lie from the service's own clock, in ms. An event beyond that could never count.

    An event is late if the minute in which it was viewed has ended `lateness_ms` ago or longer. None: none is late.
    """

    past_ms: int
    future_ms: int
    lateness_ms: int | None = None


def pack(
    events: Sequence[ViewEvent],
    indexes: Sequence[int],
    *,
    now_ms: int,
    salts: int,
    tail: bytes = NO_TAIL,
    reach: Reach | None = None,
    own_tail: Callable[[str], bytes] | None = None,
    country: str | None = None,
) -> Packed:
    """Encode the events that keep the limits in bytes and whose time can count. Reject the others.

    Without a reach, any time in the years 2000 to 2099 is taken. `indexes` are the places of the events in the body.
    `tail` is what `event_tail` returns, of at most TAIL_BYTES_MAX bytes: it ends every event. If `own_tail` is given,
    an event with a user agent ends with what it returns for that instead.
    `country` is that of events that name none; it has at most COUNTRY_BYTES_MAX bytes.
    """
    earliest_ms, end_ms = time_bounds(now_ms, reach)
    # Most events are not late, so that one comparison is enough for them.
    in_time_ms = max(earliest_ms, in_time_from_ms(now_ms, reach))
    late: list[int] = []
    # By the salts that occur: a body of one event must not cost a list for each salt.
    datums: dict[int, list[bytes]] = {}
    places: list[list[int]] = [_NOWHERE] * salts
    rejected: list[Rejection] = []
    made: list[Made] = []
    has_nobody = False
    no_country = optional_text(country)
    murmur3 = mmh3.hash
    high = -1
    high_bytes = b""
    for index, event in zip(indexes, events, strict=True):
        viewed_at = event.viewed_at
        identity = event.event_id
        if viewed_at.__class__ is not int:
            if viewed_at is None:
                if identity is None:
                    viewed_at = now_ms
                elif (of_id := time_of_id(identity)) is not None:
                    viewed_at = of_id
                else:
                    rejected.append(rejection(index, "viewed_at", None, TIME_MISSING))
                    continue
            else:
                assert isinstance(viewed_at, str)
                try:
                    viewed_at = time_ms(viewed_at)
                except ValueFormError as error:
                    rejected.append(rejection(index, "viewed_at", viewed_at, str(error)))
                    continue
        assert isinstance(viewed_at, int)
        if not in_time_ms <= viewed_at < end_ms:
            if not earliest_ms <= viewed_at < end_ms:
                rejected.append(_out_of_reach(index, viewed_at, now_ms))
                continue
            late.append(index)
        video_id = event.video_id.encode()
        if len(video_id) > VIDEO_ID_BYTES_MAX:
            rejected.append(_too_long(index, "video_id", event.video_id, VIDEO_ID_BYTES_MAX))
            continue
        kind = _VIEW
        if event.kind != "view":
            kind = event.kind.encode()
            if len(kind) > KIND_BYTES_MAX:
                rejected.append(_too_long(index, "kind", event.kind, KIND_BYTES_MAX))
                continue
            if event.kind.startswith(BLOCKED_PREFIX):
                rejected.append(rejection(index, "kind", event.kind, _RESERVED_KIND))
                continue
            kind = _LENGTH[len(kind)] + kind
        viewer_id = device = _NONE
        country_bytes = no_country
        if event.viewer_id is not None:
            viewer_id = event.viewer_id.encode()
            if len(viewer_id) > VIEWER_ID_BYTES_MAX:
                rejected.append(_too_long(index, "viewer_id", event.viewer_id, VIEWER_ID_BYTES_MAX))
                continue
            if is_no_viewer(event.viewer_id):
                has_nobody = True
                viewer_id = _NONE
            else:
                viewer_id = _SOME_LENGTH[len(viewer_id)] + viewer_id
        if event.country is not None:
            country_bytes = event.country.encode()
            if len(country_bytes) > COUNTRY_BYTES_MAX:
                rejected.append(_too_long(index, "country", event.country, COUNTRY_BYTES_MAX))
                continue
            country_bytes = _SOME_LENGTH[len(country_bytes)] + country_bytes
        if event.device is not None:
            device = event.device.encode()
            if len(device) > DEVICE_BYTES_MAX:
                rejected.append(_too_long(index, "device", event.device, DEVICE_BYTES_MAX))
                continue
            device = _SOME_LENGTH[len(device)] + device
        if identity is None:
            identity = uuid.uuid4()
            made.append(Made(index, str(identity), viewed_at))
        event_id = identity.int.to_bytes(ID_BYTES, "big")
        if event_id in RESERVED_IDS:
            rejected.append(rejection(index, "event_id", str(identity), ID_RESERVED))
            continue
        zigzag = viewed_at << 1
        # Events of one body are close in time, so the encoded high bits, which change every eight seconds, are kept.
        if zigzag >> 14 != high:
            high = zigzag >> 14
            high_bytes = _unsigned_varint(high)
        salt = murmur3(event_id, 0, False) % salts
        if salt not in datums:
            datums[salt], places[salt] = [], []
        datums[salt].append(
            b"%b%b%b%b%b%b%b%b%b%b"
            % (
                event_id,
                _LENGTH[len(video_id)],
                video_id,
                _LOW_14_BITS[zigzag & 16383],
                high_bytes,
                kind,
                viewer_id,
                country_bytes,
                device,
                tail if own_tail is None or event.user_agent is None else own_tail(event.user_agent),
            )
        )
        places[salt].append(index)
    blocks = [b""] * salts
    ends: list[Sequence[int]] = [()] * salts
    for salt, of_salt in datums.items():
        blocks[salt] = b"".join(of_salt)
        ends[salt] = list(accumulate(map(len, of_salt)))
    if late and rejected:
        late = sorted(set(late).difference(one.index for one in rejected))
    return Packed(blocks, ends, places, rejected, made, sum(map(len, datums.values())), late, has_nobody)


def batch_value(
    blocks: Sequence[bytes],
    count: int,
    *,
    producer_id: str,
    salt: int,
    salts: int,
    now_ms: int,
    acknowledged: int | None = None,
    batch_id: bytes | None = None,
) -> bytes:
    """A ViewBatch of `count` events in single-object encoding. The blocks hold them one after the other.

    Without events it is a heartbeat. `acknowledged` is how many events of this producer and salt Kafka has acknowledged
    so far. Without a batch_id, one is made.
    """
    head = batch_head(
        batch_id or os.urandom(ID_BYTES),
        producer_id,
        salt=salt,
        salts=salts,
        produced_ms=now_ms,
        origin=Origin.DIRECT,
        acknowledged=acknowledged,
    )
    if not count:
        return head + _END_OF_EVENTS
    return b"".join((head, varint(count), *blocks, _END_OF_EVENTS))


def time_bounds(now_ms: int, reach: Reach | None) -> tuple[int, int]:
    """The earliest time that an event may have, and the end of these times, which it may not have."""
    if reach is None:
        return TIME_MIN_MS, TIME_END_MS
    return max(TIME_MIN_MS, now_ms - reach.past_ms), min(TIME_END_MS, now_ms + reach.future_ms + 1)


def in_time_from_ms(now_ms: int, reach: Reach | None) -> int:
    """The earliest time of an event that is not late, if it arrives now. The count job's rule is the same."""
    if reach is None or reach.lateness_ms is None:
        return TIME_MIN_MS
    return (now_ms - reach.lateness_ms) // MINUTE_MS * MINUTE_MS


def _datums(packed: Packed, salt: int) -> Iterator[tuple[int, bytes]]:
    """(index, bytes) of each event of a salt."""
    block, ends = packed.blocks[salt], packed.ends[salt]
    for index, (start, end) in zip(packed.indexes[salt], pairwise([0, *ends]), strict=True):
        yield index, block[start:end]


def _unsigned_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append((value & 127) | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _out_of_reach(index: int, viewed_at: int, now_ms: int) -> Rejection:
    if not TIME_MIN_MS <= viewed_at < TIME_END_MS:
        return rejection(index, "viewed_at", viewed_at, TIME_RANGE)
    here = f"the service's clock says {datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if viewed_at > now_ms:
        reason = f"{(viewed_at - now_ms) // 1000} s ahead, too far to ever count: {here}"
        return rejection(index, "viewed_at", viewed_at, reason, "set the clock that made it; GET /v1/time has this one")
    reason = f"{(now_ms - viewed_at) // 3_600_000} h ago, too long to be counted or added: {here}"
    return rejection(index, "viewed_at", viewed_at, reason, "leave the event out, or mend its time if that is wrong")


def _too_long(index: int, name: str, value: str | None, bytes_max: int) -> Rejection:
    return rejection(index, name, value, f"longer than {bytes_max} bytes of UTF-8")
