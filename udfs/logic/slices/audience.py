"""Collects video, kind, minute, country, device and viewer of each event that counts in a slice, and sums them.

A viewer is a hash of 16 bytes, never an id. The chance that any two of a thousand million viewers share a hash is about
10^-21. A country is a text of two letters. Any other text, or none, becomes the country "". Devices are those of
udfs.logic.slices.devices.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from settings.durations import MINUTE_MS, MINUTES_PER_HOUR
from udfs.logic.kernels.hash_columns import TYPE, column_of
from udfs.logic.kernels.hashing import both_hashes
from udfs.logic.kernels.key_columns import key_columns, shards_of
from udfs.logic.kernels.key_table import Bytes, KeyTable, key_slot
from udfs.logic.kernels.nobody import is_nobody
from udfs.logic.kernels.numba_compat import leaf, njit
from udfs.logic.minutes.cells import put_bytes, same_bytes
from udfs.logic.slices.devices import DEVICE_BITS, DEVICE_NAME_BYTES_MAX, device_names, device_number
from udfs.logic.slices.late_events import LateEvents, late_spans
from udfs.logic.slices.viewer_buckets import buckets_for
from udfs.logic.wire.batch_scan import BLOCKED_PREFIX_BYTES, OPTIONAL_TEXTS_1, read_string, read_varint

_CELL = {"hour": pa.int64(), "shard": pa.int32(), "kind": pa.string(), "video_id": pa.string()}
CELLS = pa.schema({**_CELL, "minute": pa.int64(), "views": pa.int64(), "late_added": pa.int64()})
COUNTRIES = pa.schema({**_CELL, "country": pa.string(), "device": pa.string(), "views": pa.int64()})
# Nearly every event has a row of its own here, so names are stored as numbers, with dictionaries.
_NUMBERED = {name: pa.dictionary(pa.int32(), pa.string()) for name in ("kind", "video_id")}
VIEWERS = pa.schema({**_CELL, **_NUMBERED, "minute": pa.int64(), "viewer": TYPE, "views": pa.int64()})
_CODE_BITS = 63
_COUNTRY_BITS = 16
# So many late events are read at once. What is read takes as much memory again as the events themselves.
LATE_AT_ONCE = 65_536


class Sums(NamedTuple):
    """Tables of schemas CELLS, COUNTRIES and VIEWERS, sorted by hour and shard.

    Each cell has one row, and so has each cell with a country and a device. A viewer who viewed a video several times
    in one minute may have several rows. Events without a viewer_id have no row in `viewers`. Each shard has
    `viewer_buckets` buckets (udfs.logic.slices.viewer_buckets). The `shard` of a viewer's row is the video's shard
    times their number, plus the bucket.
    """

    cells: pa.Table
    countries: pa.Table
    viewers: pa.Table
    viewer_buckets: int = 1


class _Batch(NamedTuple):
    """For each event: the number of its key, its minute since 1970, its country (two letters, or 0), device and viewer.

    A device is a number of udfs.logic.slices.devices.
    """

    keys: npt.NDArray[np.int64]
    minutes: npt.NDArray[np.int64]
    countries: npt.NDArray[np.uint16]
    devices: npt.NDArray[np.int32]
    viewers: npt.NDArray[np.uint64]


@leaf()
def country_code(buf, at, length):  # type: ignore[no-untyped-def]
    """Return two ASCII letters as capitals in 16 bits, or 0 for any other text."""
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
    buf, spans, viewed_at, chosen, is_blocked, slots, arena, arena_used, key_at, key_len, n,
    device_slots, device_arena, device_used, device_at, device_len, devices_n,
):  # fmt: skip
    """Read the chosen events, and add their keys and devices to the two tables.

    Return how many bytes and keys the first table has, how many bytes and devices the second one has, and the columns
    of a _Batch.
    """
    mask = np.uint64(slots.shape[0] - 1)
    prefix = BLOCKED_PREFIX_BYTES.shape[0]
    keys = np.empty(chosen.shape[0], np.int64)
    minutes = np.empty(chosen.shape[0], np.int64)
    countries = np.empty(chosen.shape[0], np.uint16)
    devices = np.empty(chosen.shape[0], np.int32)
    viewers = np.zeros((chosen.shape[0], 2), np.uint64)
    for place in range(chosen.shape[0]):
        i = chosen[place]
        video_at, video_len, kind_at, kind_len = spans[i, 2], spans[i, 3], spans[i, 4], spans[i, 5]
        prefix_len = prefix if is_blocked[place] else 0
        length = 1 + prefix_len + kind_len + video_len
        # The key is written after the other keys, where it stays if it is new.
        arena[arena_used] = prefix_len + kind_len
        at = put_bytes(arena, arena_used + 1, BLOCKED_PREFIX_BYTES, 0, prefix_len)
        at = put_bytes(arena, at, buf, kind_at, kind_len)
        put_bytes(arena, at, buf, video_at, video_len)
        slot = key_slot(arena, arena_used, length, mask)
        while True:
            key = slots[slot]
            if key < 0:
                key = n
                slots[slot] = key
                key_at[key] = arena_used
                key_len[key] = length
                n += 1
                arena_used += length
                break
            if key_len[key] == length and same_bytes(arena, key_at[key], arena, arena_used, length):
                break
            slot = (slot + np.uint64(1)) & mask
        keys[place] = key
        minutes[place] = viewed_at[i] // MINUTE_MS
        if not is_nobody(buf, spans[i, 6], spans[i, 7]):
            viewers[place, 0], viewers[place, 1] = both_hashes(buf, spans[i, 6], spans[i, 7])
        # After the kind come the viewer, the country and the device, each a union.
        at = kind_at + kind_len
        country_at = country_len = text_at = text_len = np.int64(0)
        for _ in range(OPTIONAL_TEXTS_1):
            country_at, country_len = text_at, text_len
            text_at = text_len = np.int64(0)
            branch, at = read_varint(buf, at)
            if branch == 1:
                text_at, text_len, at = read_string(buf, at)
        countries[place] = country_code(buf, country_at, country_len)
        number = device_number(
            buf, text_at, text_len, device_slots, device_arena, device_used, device_at, device_len, devices_n
        )
        if number > devices_n:
            devices_n = number
            device_used += text_len
        devices[place] = number
    return arena_used, n, device_used, devices_n, keys, minutes, countries, devices, viewers


@njit(cache=True)
def _codes(  # type: ignore[no-untyped-def]
    keys, minutes, countries, devices, device_codes, viewers, places, hours, room
):
    """Return three codes for each event, and (index, code) of each event with a viewer.

    A cell is one number for hour, bucket, kind and video, in this order; `places` has the rank of each key by the last
    three. `device_codes` has the code of each device. The three codes are the cell, the cell with the minute, and the
    cell with country and device. The code of a viewer is the cell with as much of the viewer's hash as there is room
    for.
    """
    n = keys.shape[0]
    cells = np.empty(n, np.int64)
    by_minute = np.empty(n, np.int64)
    by_place = np.empty(n, np.int64)
    known = np.empty(n, np.int64)
    by_viewer = np.empty(n, np.int64)
    found = 0
    number = 0
    for i in range(n):
        hour = minutes[i] // MINUTES_PER_HOUR
        # Most events have the hour of the event before.
        if hours[number] != hour:
            number = np.searchsorted(hours, hour)
        cell = number * places.shape[0] + places[keys[i]]
        cells[i] = cell
        by_minute[i] = cell * MINUTES_PER_HOUR + minutes[i] - hour * MINUTES_PER_HOUR
        place = cell << _COUNTRY_BITS | np.int64(countries[i])
        by_place[i] = place << DEVICE_BITS | device_codes[devices[i]]
        if viewers[i, 0] or viewers[i, 1]:
            known[found] = i
            by_viewer[found] = cell << room | np.int64(viewers[i, 0] >> np.uint64(64 - room))
            found += 1
    return cells, by_minute, by_place, known[:found], by_viewer[:found]


@njit(cache=True)
def _runs(codes):  # type: ignore[no-untyped-def]
    """Return (each code, how often it occurs) of sorted codes."""
    found = np.empty(codes.shape[0], np.int64)
    counts = np.empty(codes.shape[0], np.int64)
    n = 0
    for code in codes:
        if n > 0 and found[n - 1] == code:
            counts[n - 1] += 1
        else:
            found[n] = code
            counts[n] = 1
            n += 1
    return found[:n], counts[:n]


@njit(cache=True)
def _merged(order, cells, minutes, viewers):  # type: ignore[no-untyped-def]
    """Merge equal neighbours in this order. Return (the first of each, how many they are)."""
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
    """Return the 16-byte hash that stands for a viewer."""
    buf = np.frombuffer(viewer_id.encode(), np.uint8)
    return np.array(both_hashes(buf, 0, len(buf)), np.uint64).tobytes()


class Audience:
    """Collects the events of one slice."""

    def __init__(self) -> None:
        self._keys = KeyTable()
        self._devices = KeyTable()
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
        """Add the chosen events of a scanned batch, which came in time. `is_blocked` has an entry for each of them."""
        self._in_time.append(self._collect(buf, spans, viewed_at, chosen, is_blocked))

    def add_late(self, late: LateEvents, chosen: npt.NDArray[np.int64]) -> None:
        """Add the chosen late events."""
        for at in range(0, len(chosen), LATE_AT_ONCE):
            part = chosen[at : at + LATE_AT_ONCE]
            first, end = late.starts[part[0]], late.starts[part[-1] + 1]
            buf = late.datums[first:end]
            spans, viewed_at = late_spans(buf, late.starts[part] - first, late.starts[part + 1] - first)
            self._late.append(self._collect(buf, spans, viewed_at, np.arange(len(part)), late.is_blocked[part]))

    def _collect(
        self,
        buf: Bytes,
        spans: npt.NDArray[np.int64],
        viewed_at: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
        is_blocked: npt.NDArray[np.bool_],
    ) -> _Batch:
        table, devices = self._keys, self._devices
        table.reserve(len(chosen), len(buf) + len(chosen) * (1 + len(BLOCKED_PREFIX_BYTES)))
        devices.reserve(len(chosen), len(chosen) * DEVICE_NAME_BYTES_MAX)
        table.arena_used, table.n, devices.arena_used, devices.n, *columns = _collect(
            buf, spans, viewed_at, chosen, is_blocked,
            table.slots, table.arena, table.arena_used, table.at, table.length, table.n,
            devices.slots, devices.arena, devices.arena_used, devices.at, devices.length, devices.n,
        )  # fmt: skip
        return _Batch(*columns)

    def sums(self, shards: int) -> Sums:
        """Sum all events that were added."""
        batches = [*self._in_time, *self._late]
        if not batches:
            return Sums(CELLS.empty_table(), COUNTRIES.empty_table(), VIEWERS.empty_table())
        keys, minutes, countries, devices, viewers = (np.concatenate(of) for of in zip(*batches, strict=True))
        buckets = buckets_for(len(keys), shards)
        names = self._names(shards, buckets)
        n = names.num_rows
        # Each batch has few different hours, so this is faster than sorting all.
        hours = np.unique(np.concatenate([np.unique(batch.minutes // MINUTES_PER_HOUR) for batch in batches]))
        room = min(_CODE_BITS - (len(hours) * n).bit_length(), 32)
        named, device_codes = device_names(self._devices, devices)
        cells, by_minute, by_place, known, by_viewer = _codes(
            keys, minutes, countries, devices, device_codes, viewers, _places(names["number"].to_numpy()), hours, room
        )

        def table(schema: pa.Schema, cells: npt.NDArray[np.int64], shard: str, **columns: object) -> pa.Table:
            places = pa.array(cells % n)
            named = {name: _taken(names[name], places, schema.field(name).type) for name in ("kind", "video_id")}
            shard_of = names[shard].combine_chunks().take(places)
            return pa.table({"hour": hours[cells // n], "shard": shard_of, **named, **columns}, schema=schema)

        late = sum(len(batch.keys) for batch in self._late)
        late_codes, late_views = _runs(np.sort(by_minute[len(by_minute) - late :]))
        in_minutes, views = _runs(np.sort(by_minute))
        late_added = np.zeros(len(in_minutes), np.int64)
        late_added[np.searchsorted(in_minutes, late_codes)] = late_views
        at = in_minutes // MINUTES_PER_HOUR
        minute = hours[at // n] * MINUTES_PER_HOUR + in_minutes % MINUTES_PER_HOUR
        of_minutes = table(CELLS, at, "shard", minute=minute, views=views - late_added, late_added=late_added)
        codes, views = _runs(np.sort(by_place))
        of_countries = table(
            COUNTRIES,
            codes >> (_COUNTRY_BITS + DEVICE_BITS),
            "shard",
            country=_country_names(codes >> DEVICE_BITS & (1 << _COUNTRY_BITS) - 1),
            device=named.take(pa.array(codes & (1 << DEVICE_BITS) - 1)),
            views=views,
        )
        # Viewers who share a code may have several rows each.
        at, views = _merged(known[np.argsort(by_viewer)], cells, minutes, viewers)
        who = column_of(viewers[at])
        of_viewers = table(VIEWERS, cells[at], "bucket", minute=minutes[at], viewer=who, views=views)
        return Sums(of_minutes, of_countries, of_viewers, buckets)

    def _names(self, shards: int, buckets: int) -> pa.Table:
        """Return bucket, kind, video_id, shard and number of each key, sorted by the first three.

        Buckets are numbered through all shards.
        """
        kinds, videos = key_columns(*self._keys.keys())
        hashed = shards_of(videos, shards * buckets)
        columns = {
            "bucket": (hashed % shards * buckets + hashed // shards).astype(np.int32),
            "shard": (hashed % shards).astype(np.int32),
            "kind": kinds,
            "video_id": videos,
            "number": np.arange(self._keys.n),
        }
        return pa.table(columns).sort_by([(name, "ascending") for name in ("bucket", "kind", "video_id")])


def _places(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the place of each number."""
    found = np.empty(len(numbers), np.int64)
    found[numbers] = np.arange(len(numbers))
    return found


def _country_names(codes: npt.NDArray[np.int64]) -> pa.Array:
    each, places = np.unique(codes, return_inverse=True)
    names = [int(code).to_bytes(2, "big").decode() if code else "" for code in each]
    return pa.array(names, pa.string()).take(pa.array(places))


def _taken(column: pa.ChunkedArray, places: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return the values at these places. For a dictionary type, only the indices are copied, not the texts."""
    whole = column.combine_chunks()
    if not pa.types.is_dictionary(wanted):
        return whole.take(places)
    encoded = whole.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.take(places), encoded.dictionary)
