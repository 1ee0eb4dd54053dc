"""Erasures: whose events are erased and until when, and how events and slices are rewritten.

In every event of the viewer a pseudonym replaces the viewer_id. It is the same for all events of one video and one day
viewed, and different for any other video or day. So all counts by video and day stay the same, viewers included, and
nobody can follow the viewer from one video or day to another. Pseudonyms are made with a key of the erasure. The key is
deleted when no event of the viewer can come into the archive any more. Without it, nobody can say whose a pseudonym is.

A viewer who is, was or will be blocked has a single pseudonym for all events. It is on the block list for the same
periods. Otherwise a recount would count what did not count before.
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
# The second branch of a union, and a text of one byte that is not UTF-8.
_NO_TEXT = b"\2\2\xff"
_SALT_BYTES = 4


class Erasure(msgspec.Struct, frozen=True):
    """The erasure of one viewer. It is open while it has a key.

    `viewer` is the viewer's hash (udfs.logic.slices.audience) in hex. Events are erased that were viewed on a day up to
    `last_day`, or arrived before that day. If `blocked` is set, the viewer has one pseudonym for all events. If
    `unlist` is set, the viewer's own entry is removed from the block list when the erasure closes. `files`, `events`
    and `rows` are what finished runs have rewritten so far; `scanned_s` is the time of the newest file of the archive
    that one of them has read.
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
        """Whether events to erase may still come."""
        return self.key is not None


def asked(
    before: Erasure | None, viewer_id: str, now: datetime, *, blocked: bool, unlist: bool, reach: timedelta
) -> Erasure:
    """Return the erasure after an operator has asked for it, at `now`. `before` is the viewer's erasure so far.

    `reach` says how long after it was viewed, or arrived, an event can still come into the archive and count. The next
    day is erased as well, since the viewer may go on viewing, and viewers are counted by whole days.
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
        # An open erasure keeps its key, so that pseudonyms stay the same.
        key=before.key if before is not None and is_open else secrets.token_hex(KEY_BYTES),
        blocked=blocked or (before is not None and is_open and before.blocked),
        unlist=unlist or (before is not None and is_open and before.unlist),
        files=0 if before is None else before.files,
        events=0 if before is None else before.events,
        rows=0 if before is None else before.rows,
        scanned_s=0.0,
    )


def closed(erasure: Erasure) -> Erasure:
    """Return the erasure without its key. From then on nobody can say whose the pseudonyms are."""
    return msgspec.structs.replace(erasure, key=None)


def pseudonym(erasure: Erasure, video_id: bytes, day: int) -> str:
    """Return the viewer's pseudonym for a video and a day viewed, in days since 1970. The erasure must be open."""
    assert erasure.key is not None
    of = b"" if erasure.blocked else day.to_bytes(8, "big", signed=True) + video_id
    return f"erased:{hmac.digest(bytes.fromhex(erasure.key), of, 'sha256')[:16].hex()}"


class Without(NamedTuple):
    """A record's rewritten key and value, and in how many events each erased viewer was, by `viewer`.

    `emptied` says that the record could not be read but contained an id, so that its value is empty now.
    """

    key: bytes | None
    value: bytes | None
    events: Counter[str]
    emptied: bool


class Eraser:
    """Replaces the viewers of open erasures in records and in slices' viewers.

    It finds events by the viewer's hash, so it needs no id. If `ids` are given, it also looks for them in records that
    cannot be read.
    """

    def __init__(self, erasures: Iterable[Erasure], ids: Collection[str] = ()) -> None:
        found = [(np.frombuffer(bytes.fromhex(one.viewer), np.uint64), one) for one in erasures if one.is_open]
        found.sort(key=lambda of: of[0].tolist())
        self._erasures = [one for _, one in found]
        self._hashes = np.array([halves for halves, _ in found], np.uint64).reshape(-1, 2)
        self._ids = [one.encode() for one in ids]

    def erase_from(self, key: bytes | None, value: bytes | None, record_ms: int) -> Without | None:
        """Return a record of the events topic without these viewers, or None if it stays as it is.

        The rewritten record gives the same counts.
        """
        new_key = key
        # A key that is not a salt is treated as no key, so it can be removed.
        if key is not None and len(key) != _SALT_BYTES and self._names_any(key):
            new_key = None
        buf = np.frombuffer(value or b"", np.uint8)
        # Its salt may be wrong: events that do not count are a viewer's events too.
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
        """Return (the table without these viewers, the number of rows of each of them).

        The table has a slice's viewers (udfs.logic.slices.audience), or, if `day` (since 1970) is given, viewers of
        that day without a minute. Rows keep their places.
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
    """Return (events whose viewers are in `hashes`, the row of `hashes` for each of them)."""
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
    """Return the batch with another viewer_id in some events. Everything else stays the same, byte for byte."""
    made = [value[:events_at]]
    at = events_at
    event = 0
    # An array consists of blocks, the last of them empty. After a negative count comes the block's size in bytes.
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
    """Return the event with another viewer_id, and without the fields that nothing counts."""
    _, viewer_at = read_varint(buf, span[KIND_AT] + span[KIND_LEN])
    country, at = _text(value, buf, span[VIEWER_AT] + span[VIEWER_LEN])
    device, at = _text(value, buf, at)
    # Any other text counts as no country, and is removed.
    is_country = country_code(np.frombuffer(country, np.uint8), 0, len(country)) != 0
    kept = varint(1) + varint(2) + country if is_country else _nothing(country)
    # What version 2 adds names classes, rules and projects, and no viewer.
    added = value[at : span[END]]
    return b"".join([value[span[START] : viewer_at], varint(len(name)), name, kept, _nothing(device), added])


def _text(value: bytes, buf: Bytes, at: int) -> tuple[bytes, int]:
    """Return (the text of a union of null and string, the place after it)."""
    branch, at = read_varint(buf, at)
    if branch == 0:
        return b"", at
    text_at, length, at = read_string(buf, at)
    return value[text_at : text_at + length], at


def _nothing(text: bytes) -> bytes:
    """Return what replaces a text: null. A text that is not UTF-8 is replaced by another such text.

    Such an event is a dead letter, and must stay one.
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        return _NO_TEXT
    return _NULL
