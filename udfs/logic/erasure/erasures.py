"""Erasures: who is erased, what stands in place of a viewer_id, and what an event and a slice are without it. Pure.

In every event of the viewer a pseudonym takes the place of the viewer_id: the same one within a video and a day viewed,
another one everywhere else. So whatever is counted by video and day, viewers included, stays as it was, and nobody can
follow the viewer from one video or day to the next. Pseudonyms come from a key of the erasure's own, which is kept only
until no event of the viewer can come into the archive any more: whoever has no key cannot tell whose a pseudonym was.

A viewer who is, was or will be blocked has one pseudonym for all events, which is on the block list for the same
periods: or a recount would count what did not count.
"""

import hmac
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.varint import varint
from settings.durations import DAY_MS, MINUTES_PER_DAY
from udfs.logic.history.manifest import day_number
from udfs.logic.kernels.hash_columns import column_of, halves_of
from udfs.logic.kernels.hashing import both_hashes
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import njit
from udfs.logic.slices.audience import country_code, viewer_hash
from udfs.logic.wire.batch_scan import (
    END,
    KIND_AT,
    KIND_LEN,
    START,
    VIDEO_AT,
    VIDEO_LEN,
    VIEWER_AT,
    VIEWER_LEN,
    Unreadable,
    read_string,
    read_varint,
    scan_as_named,
)

VERSION = 1
KEY_BYTES = 32
_DAY = timedelta(days=1)
_NULL = b"\0"
# A union's second branch, and a text of one byte that is no UTF-8.
_NO_TEXT = b"\2\2\xff"
_SALT_BYTES = 4


class Erasure(msgspec.Struct, frozen=True):
    """One viewer's erasure, open while it has a key.

    `viewer` is the hash by which the viewer is known (udfs.logic.slices.audience) in hex. All days viewed up to
    `last_day` are erased, and whatever arrived before that day. `blocked`: the viewer has one pseudonym for all.
    `unlist`: the viewer's own entry leaves the block list when this closes. `files`, `events` and `rows` are what was
    rewritten so far, by runs that came to their end; `scanned_s` the time of the newest archive file that one of them
    read.
    """

    version: int
    viewer: str
    asked_at: datetime
    last_day: date
    closes_at: datetime
    key: str | None
    blocked: bool
    unlist: bool
    files: int
    events: int
    rows: int
    scanned_s: float

    @property
    def is_open(self) -> bool:
        """Whether there may be events to erase still."""
        return self.key is not None


def asked(
    before: Erasure | None, viewer_id: str, now: datetime, *, blocked: bool, unlist: bool, reach: timedelta
) -> Erasure:
    """The erasure after somebody has asked for it, now; `before` is that which there was.

    `reach`: how long after its view, or its arrival, an event can still come into the archive and count.
    The day after is erased too, since who is told of it now may view on, and a day's viewers are counted by whole days.
    """
    last_day = now.astimezone(UTC).date() + _DAY
    end = datetime.combine(last_day + _DAY, datetime.min.time(), UTC)
    is_open = before is not None and before.is_open
    return Erasure(
        version=VERSION,
        viewer=viewer_hash(viewer_id).hex(),
        asked_at=now,
        last_day=last_day,
        closes_at=end + reach,
        # Pseudonyms that were given stay the same as long as the key is there.
        key=before.key if before is not None and is_open else secrets.token_hex(KEY_BYTES),
        blocked=blocked or (before is not None and is_open and before.blocked),
        unlist=unlist or (before is not None and is_open and before.unlist),
        files=0 if before is None else before.files,
        events=0 if before is None else before.events,
        rows=0 if before is None else before.rows,
        scanned_s=0.0,
    )


def closed(erasure: Erasure) -> Erasure:
    """The same, after which nobody can tell any more whose the pseudonyms are."""
    return msgspec.structs.replace(erasure, key=None)


def pseudonym(erasure: Erasure, video_id: bytes, day: int) -> str:
    """What stands for the viewer of an open erasure in events of a video and a day viewed, since 1970."""
    assert erasure.key is not None
    of = b"" if erasure.blocked else day.to_bytes(8, "big", signed=True) + video_id
    return f"erased:{hmac.digest(bytes.fromhex(erasure.key), of, 'sha256')[:16].hex()}"


class Without(NamedTuple):
    """A record's key and value without those who are erased, and in how many events each of them stood, by `viewer`.

    `emptied`: it could not be read, held an id somewhere, and has no content now.
    """

    key: bytes | None
    value: bytes | None
    events: Counter[str]
    emptied: bool


class Eraser:
    """Takes viewers of open erasures out of records and of slices' viewers.

    Events are found by hash, which needs no id. `ids`, where they are known, are also looked for in what cannot be
    read.
    """

    def __init__(self, erasures: Iterable[Erasure], ids: Collection[str] = ()) -> None:
        found = [(np.frombuffer(bytes.fromhex(one.viewer), np.uint64), one) for one in erasures if one.is_open]
        found.sort(key=lambda of: of[0].tolist())
        self._erasures = [one for _, one in found]
        self._hashes = np.array([halves for halves, _ in found], np.uint64).reshape(-1, 2)
        self._ids = [one.encode() for one in ids]

    def record(self, key: bytes | None, value: bytes | None, record_ms: int) -> Without | None:
        """A record of the events topic without them; None when it stays as it is. Judged, it comes to the same."""
        new_key = key
        # A key that is no salt is as good as none.
        if key is not None and len(key) != _SALT_BYTES and self._names_any(key):
            new_key = None
        buf = np.frombuffer(value or b"", np.uint8)
        # Under whichever salt it came: its events are somebody's also where they do not count.
        batch = scan_as_named(buf)
        if isinstance(batch, Unreadable):
            emptied = value is not None and self._names_any(value)
            return Without(new_key, b"", Counter(), emptied) if emptied else _with_key(key, new_key, value)
        events_at, found = batch
        spans = found.spans
        places, whose = _matches(buf, spans, self._hashes)
        events: Counter[str] = Counter()
        names: dict[int, bytes] = {}
        for place, number in zip(places.tolist(), whose.tolist(), strict=True):
            erasure = self._erasures[number]
            video_at, video_len = spans[place, VIDEO_AT], spans[place, VIDEO_LEN]
            day = int(found.viewed_at[place]) // DAY_MS
            last_day = day_number(erasure.last_day)
            if day <= last_day or record_ms < last_day * DAY_MS:
                names[place] = pseudonym(erasure, buf[video_at : video_at + video_len].tobytes(), day).encode()
                events[erasure.viewer] += 1
        if not names:
            return _with_key(key, new_key, value)
        assert value is not None
        return Without(new_key, _renamed(value, buf, events_at, spans, names), events, emptied=False)

    def viewers(self, table: pa.Table, day: int | None = None) -> tuple[pa.Table, Counter[str]]:
        """A table of a slice's viewers (udfs.logic.slices.audience) without them, and how many rows each of them had.

        Or one of a day since 1970, whose rows have no minute. Rows stay in their places.
        """
        rows: Counter[str] = Counter()
        if not self._erasures:
            return table, rows
        hashes = halves_of(table["viewer"]).copy()
        for erasure, halves in zip(self._erasures, self._hashes, strict=True):
            mine = np.nonzero((hashes == halves).all(axis=1))[0]
            if not len(mine):
                continue
            taken = table.take(pa.array(mine))
            if day is None:
                days = [minute // MINUTES_PER_DAY for minute in taken["minute"].to_pylist()]
            else:
                days = [day] * len(mine)
            for row, video, viewed_day in zip(mine.tolist(), taken["video_id"].to_pylist(), days, strict=True):
                if viewed_day <= day_number(erasure.last_day):
                    name = pseudonym(erasure, video.encode(), viewed_day)
                    hashes[row] = np.frombuffer(viewer_hash(name), np.uint64)
                    rows[erasure.viewer] += 1
        if not rows:
            return table, rows
        at = table.schema.get_field_index("viewer")
        return table.set_column(at, table.schema.field(at), column_of(hashes)), rows

    def _names_any(self, octets: bytes) -> bool:
        return any(one in octets for one in self._ids)


def _with_key(key: bytes | None, new_key: bytes | None, value: bytes | None) -> Without | None:
    return None if new_key == key else Without(new_key, value, Counter(), emptied=False)


@njit(cache=True)
def _matches(buf, spans, hashes):  # type: ignore[no-untyped-def]
    """(events, rows of `hashes`) of the events whose viewers are among these."""
    places = np.empty(spans.shape[0], np.int64)
    whose = np.empty(spans.shape[0], np.int64)
    n = 0
    for i in range(spans.shape[0]):
        at, length = spans[i, 6], spans[i, 7]
        if length == 0:
            continue
        first, second = both_hashes(buf, at, length)
        j = np.searchsorted(hashes[:, 0], first)
        while j < hashes.shape[0] and hashes[j, 0] == first:
            if hashes[j, 1] == second:
                places[n] = i
                whose[n] = j
                n += 1
                break
            j += 1
    return places[:n], whose[:n]


def _renamed(
    value: bytes, buf: Bytes, events_at: int, spans: npt.NDArray[np.int64], names: Mapping[int, bytes]
) -> bytes:
    """A batch in which some events have another viewer_id. All else is left as it was, byte for byte."""
    made = [value[:events_at]]
    at = events_at
    event = 0
    # Blocks of an array, the last of them empty; a count below 0 goes with the size of its block.
    while event < len(spans):
        count, first = read_varint(buf, at)
        sized = first
        if count < 0:
            _, first = read_varint(buf, first)
        events = range(event, event + abs(int(count)))
        event = events.stop
        end = int(spans[events[-1], END])
        if names.keys().isdisjoint(events):
            made.append(value[at:end])
        else:
            block = b"".join(
                _event(value, buf, spans[one], names[one])
                if one in names
                else value[spans[one, START] : spans[one, END]]
                for one in events
            )
            made += [value[at:sized], varint(len(block)) if count < 0 else b"", block]
        at = end
    return b"".join([*made, value[at:]])


def _event(value: bytes, buf: Bytes, span: npt.NDArray[np.int64], name: bytes) -> bytes:
    """An event with another viewer_id, and without what nothing counts."""
    _, viewer_at = read_varint(buf, span[KIND_AT] + span[KIND_LEN])
    country, at = _text(value, buf, span[VIEWER_AT] + span[VIEWER_LEN])
    device, rest = _text(value, buf, at)
    # Any other text counts for no country.
    is_country = country_code(np.frombuffer(country, np.uint8), 0, len(country)) != 0
    kept = varint(1) + varint(2) + country if is_country else _nothing(country)
    head = value[span[START] : viewer_at]
    # What a later version adds after the device says nothing of a viewer.
    return b"".join([head, varint(len(name)), name, kept, _nothing(device), value[rest : span[END]]])


def _text(value: bytes, buf: Bytes, at: int) -> tuple[bytes, int]:
    """(the text of a union of null and string, the place after it)."""
    branch, at = read_varint(buf, at)
    if branch == 0:
        return b"", at
    text_at, length, at = read_string(buf, at)
    return value[text_at : text_at + length], at


def _nothing(text: bytes) -> bytes:
    """No text, in place of one. Text that is no UTF-8 makes a dead letter of its event, which must stay one."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return _NO_TEXT
    return _NULL
