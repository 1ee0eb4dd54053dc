"""What a slice keeps of each event that counts: video, kind, minute, country and viewer, in few bytes; and its sums.

A viewer is known by a hash of 16 bytes, never by name: two of a thousand million have the same one with a chance of
10^-21. Countries are those of two letters; any other text, and none, is the country "".
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.batch_scan import BLOCKED_PREFIX_BYTES, read_event, read_string, read_varint
from udfs.logic.cells import Bytes, grown, rehash, same_bytes
from udfs.logic.hashing import hash_bytes, second_hash_bytes
from udfs.logic.key_columns import key_columns, shards_of_keys
from udfs.logic.numba_compat import njit
from udfs.logic.time_rules import MINUTE_MS, MINUTES_PER_HOUR

_CELL = {"hour": pa.int64(), "shard": pa.int32(), "kind": pa.string(), "video_id": pa.string()}
CELLS = pa.schema({**_CELL, "minute": pa.int64(), "views": pa.int64(), "late_added": pa.int64()})
COUNTRIES = pa.schema({**_CELL, "country": pa.string(), "views": pa.int64()})
HASH_BYTES = 16
VIEWERS = pa.schema({**_CELL, "minute": pa.int64(), "viewer": pa.binary(HASH_BYTES), "views": pa.int64()})
_CODE_BITS = 63


class Sums(NamedTuple):
    """Tables of schemas CELLS, COUNTRIES and VIEWERS, sorted by their first four columns.

    Cells and countries are whole: one row for each. A viewer who viewed a video in one minute more than once may have
    more than one row; who has no viewer_id has none.
    """

    cells: pa.Table
    countries: pa.Table
    viewers: pa.Table


class _Batch(NamedTuple):
    """Of each event: its key's number, minute since 1970, country (two letters, or 0) and viewer."""

    keys: npt.NDArray[np.int64]
    minutes: npt.NDArray[np.int64]
    countries: npt.NDArray[np.uint16]
    viewers: npt.NDArray[np.uint64]


@njit(cache=True)
def country_code(buf, at, length):  # type: ignore[no-untyped-def]
    """Two ASCII letters as capitals in 16 bits; 0 for any other text."""
    if length != 2:
        return np.uint16(0)
    code = np.uint16(0)
    for i in range(2):
        letter = buf[at + i] & 0xDF
        if letter < 65 or letter > 90:
            return np.uint16(0)
        code = np.uint16(code << 8 | letter)
    return code


@njit(cache=True)
def _collect(  # type: ignore[no-untyped-def]
    buf, spans, viewed_at, chosen, is_blocked, slots, arena, arena_used, key_at, key_len, n
):  # fmt: skip
    """(bytes of the arena in use, number of keys, and the columns of a _Batch) with the chosen events added."""
    mask = np.uint64(slots.shape[0] - 1)
    keys = np.empty(chosen.shape[0], np.int64)
    minutes = np.empty(chosen.shape[0], np.int64)
    countries = np.empty(chosen.shape[0], np.uint16)
    viewers = np.zeros((chosen.shape[0], 2), np.uint64)
    for place in range(chosen.shape[0]):
        i = chosen[place]
        video_at, video_len, kind_at, kind_len = spans[i, 2], spans[i, 3], spans[i, 4], spans[i, 5]
        # Written where a new key would lie, and left there if it is one.
        prefix_len = BLOCKED_PREFIX_BYTES.shape[0] if is_blocked[place] else 0
        at = arena_used
        arena[at] = prefix_len + kind_len
        at += 1
        for j in range(prefix_len):
            arena[at + j] = BLOCKED_PREFIX_BYTES[j]
        at += prefix_len
        for j in range(kind_len):
            arena[at + j] = buf[kind_at + j]
        at += kind_len
        for j in range(video_len):
            arena[at + j] = buf[video_at + j]
        length = at + video_len - arena_used
        slot = hash_bytes(arena, arena_used, length) & mask
        while True:
            key = slots[slot]
            if key < 0:
                key = n
                slots[slot] = key
                key_at[key] = arena_used
                key_len[key] = length
                arena_used += length
                n += 1
                break
            if key_len[key] == length and same_bytes(arena, key_at[key], arena, arena_used, length):
                break
            slot = (slot + np.uint64(1)) & mask
        keys[place] = key
        minutes[place] = viewed_at[i] // MINUTE_MS
        if spans[i, 7]:
            viewers[place, 0] = hash_bytes(buf, spans[i, 6], spans[i, 7])
            viewers[place, 1] = second_hash_bytes(buf, spans[i, 6], spans[i, 7])
        # After the kind come the viewer and the country, each a union.
        at = kind_at + kind_len
        text_at = text_len = np.int64(0)
        for _ in range(2):
            text_at = text_len = np.int64(0)
            branch, at = read_varint(buf, at)
            if branch == 1:
                text_at, text_len, at = read_string(buf, at)
        countries[place] = country_code(buf, text_at, text_len)
    return arena_used, n, keys, minutes, countries, viewers


@njit(cache=True)
def _merged(order, cells, minutes, viewers):  # type: ignore[no-untyped-def]
    """(places, counts): of neighbours in this order that are equal, the first and how many they are."""
    places = np.empty(order.shape[0], np.int64)
    counts = np.empty(order.shape[0], np.int64)
    n = 0
    for i in order:
        if n > 0:
            last = places[n - 1]
            if (
                cells[last] == cells[i]
                and minutes[last] == minutes[i]
                and viewers[last, 0] == viewers[i, 0]
                and viewers[last, 1] == viewers[i, 1]
            ):
                counts[n - 1] += 1
                continue
        places[n] = i
        counts[n] = 1
        n += 1
    return places[:n], counts[:n]


def viewer_hash(viewer_id: str) -> bytes:
    """By what a viewer is known."""
    buf = np.frombuffer(viewer_id.encode(), np.uint8)
    return np.array([hash_bytes(buf, 0, len(buf)), second_hash_bytes(buf, 0, len(buf))], np.uint64).tobytes()


class Audience:
    """Takes the events of one slice."""

    def __init__(self) -> None:
        self._slots = np.full(128, -1, np.int32)
        self._arena = np.zeros(1024, np.uint8)
        self._arena_used = 0
        self._key_at = np.zeros(64, np.int64)
        self._key_len = np.zeros(64, np.int64)
        self._n = 0
        self._in_time: list[_Batch] = []
        self._late: list[_Batch] = []

    def add(
        self,
        buf: Bytes,
        spans: npt.NDArray[np.int64],
        viewed_at: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
        is_blocked: npt.NDArray[np.bool_],
    ) -> None:
        """Add the chosen events of a batch that was scanned, which came in time; `is_blocked` is by their order."""
        self._in_time.append(self._collect(buf, spans, viewed_at, chosen, is_blocked))

    def add_late(self, datum: bytes, *, is_blocked: bool) -> None:
        """Add one ViewEvent that came late, of which dedup has said that it can be read."""
        buf = np.frombuffer(datum, np.uint8)
        video_at, video_len, viewed_at, kind_at, kind_len, viewer_at, viewer_len, _, end = read_event(buf, 0)
        spans = np.array([[0, end, video_at, video_len, kind_at, kind_len, viewer_at, viewer_len]], np.int64)
        at = np.zeros(1, np.int64)
        self._late.append(self._collect(buf, spans, np.array([viewed_at]), at, np.array([is_blocked])))

    def _collect(
        self,
        buf: Bytes,
        spans: npt.NDArray[np.int64],
        viewed_at: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
        is_blocked: npt.NDArray[np.bool_],
    ) -> _Batch:
        self._reserve(len(chosen), len(buf) + len(chosen) * (1 + len(BLOCKED_PREFIX_BYTES)))
        self._arena_used, self._n, *columns = _collect(
            buf, spans, viewed_at, chosen, is_blocked, self._slots, self._arena, self._arena_used, self._key_at,
            self._key_len, self._n,
        )  # fmt: skip
        return _Batch(*columns)

    def sums(self, shards: int) -> Sums:
        """Of all that was added."""
        batches = [*self._in_time, *self._late]
        if not batches:
            return Sums(CELLS.empty_table(), COUNTRIES.empty_table(), VIEWERS.empty_table())
        keys, minutes, countries, viewers = (np.concatenate(of) for of in zip(*batches, strict=True))
        names = self._names(shards)
        hours, hour_numbers = np.unique(minutes // MINUTES_PER_HOUR, return_inverse=True)
        # One number for hour, shard, kind and video, in this order.
        cells = hour_numbers * self._n + _places(names["number"].to_numpy())[keys]

        def table(schema: pa.Schema, cells: npt.NDArray[np.int64], **columns: object) -> pa.Table:
            taken = names.drop_columns(["number"]).take(pa.array(cells % self._n))
            named = dict(zip(taken.column_names, taken.columns, strict=True))
            return pa.table({"hour": hours[cells // self._n], **named, **columns}, schema=schema)

        late = sum(len(batch.keys) for batch in self._late)
        codes = cells * MINUTES_PER_HOUR + minutes % MINUTES_PER_HOUR
        in_minutes, views = np.unique(codes, return_counts=True)
        late_codes, late_views = np.unique(codes[len(codes) - late :], return_counts=True)
        late_added = np.zeros(len(in_minutes), np.int64)
        late_added[np.searchsorted(in_minutes, late_codes)] = late_views
        at = in_minutes // MINUTES_PER_HOUR
        minute = hours[at // self._n] * MINUTES_PER_HOUR + in_minutes % MINUTES_PER_HOUR
        of_minutes = table(CELLS, at, minute=minute, views=views - late_added, late_added=late_added)
        codes, views = np.unique(cells << 16 | countries, return_counts=True)
        of_countries = table(COUNTRIES, codes >> 16, country=_country_names(codes & 0xFFFF), views=views)
        known = np.nonzero(viewers.any(axis=1))[0]
        # As much of the hash as there is room for: viewers whom it does not tell apart may have more rows than one.
        room = min(_CODE_BITS - int(cells.max()).bit_length(), 32)
        codes = cells[known] << room | (viewers[known, 0] >> np.uint64(64 - room)).astype(np.int64)
        at, views = _merged(known[np.argsort(codes)], cells, minutes, viewers)
        of_viewers = table(VIEWERS, cells[at], minute=minutes[at], viewer=_fixed(viewers[at]), views=views)
        return Sums(of_minutes, of_countries, of_viewers)

    def _names(self, shards: int) -> pa.Table:
        """Every key's shard, kind and video_id, sorted by these, and its number."""
        key_at, key_len = self._key_at[: self._n], self._key_len[: self._n]
        kinds, videos = key_columns(self._arena, key_at, key_len)
        columns = {
            "shard": shards_of_keys(self._arena, key_at, key_len, shards).astype(np.int32),
            "kind": kinds,
            "video_id": videos,
            "number": np.arange(self._n),
        }
        return pa.table(columns).sort_by([(name, "ascending") for name in ("shard", "kind", "video_id")])

    def _reserve(self, keys: int, octets: int) -> None:
        if self._n + keys > len(self._key_at):
            size = 1 << (self._n + keys).bit_length()
            self._key_at, self._key_len = grown(self._key_at, size), grown(self._key_len, size)
            self._slots = np.full(2 * size, -1, np.int32)
            rehash(self._slots, self._arena, self._key_at, self._key_len, self._n)
        if self._arena_used + octets > len(self._arena):
            self._arena = grown(self._arena, 2 * (self._arena_used + octets))


def _places(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each number stands."""
    found = np.empty(len(numbers), np.int64)
    found[numbers] = np.arange(len(numbers))
    return found


def _country_names(codes: npt.NDArray[np.int64]) -> pa.Array:
    each, places = np.unique(codes, return_inverse=True)
    names = [int(code).to_bytes(2, "big").decode() if code else "" for code in each]
    return pa.array(names, pa.string()).take(pa.array(places))


def _fixed(viewers: npt.NDArray[np.uint64]) -> pa.Array:
    content = pa.py_buffer(np.ascontiguousarray(viewers))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(viewers), [None, content])
