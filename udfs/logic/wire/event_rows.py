"""Sorts events by salt that a kernel has read from a body, and makes the ids that some of them lack.

A reader such as udfs.logic.wire.json_events returns the datums of its events one after another, and a row for each
event with the columns below. The datum of an event without an id has 16 bytes of anything in its place.
"""

import numpy as np

from udfs.logic.kernels.hashing import salt_of
from udfs.logic.kernels.numba_compat import leaf, njit

# Columns of the rows: the event's place in the body and in the datums, its time in ms, and its salt.
START, END, DATUM_AT, DATUM_END, VIEWED_AT, SALT = range(6)
COLUMNS = 6
# Instead of a salt: the reader has not taken the event, or it has no id yet.
LEFT, NO_ID = -1, -2
# What a JSON object of `made` has at most: 36 characters of the id, 13 of the time, 20 of the index, and the names.
MADE_BYTES_MAX = 128

_ID_BYTES = 16
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_MADE_INDEX = np.frombuffer(b'{"index":', np.uint8)
_MADE_ID = np.frombuffer(b',"event_id":"', np.uint8)
_MADE_TIME = np.frombuffer(b'","viewed_at":', np.uint8)


@leaf()
def put_row(rows, n, start, end, at, to, viewed_at, salt):  # type: ignore[no-untyped-def]
    """Write row n: the event is at `start` to `end` of the body, and its datum at `at` to `to` of the datums."""
    rows[n, START] = start
    rows[n, END] = end
    rows[n, DATUM_AT] = at
    rows[n, DATUM_END] = to
    rows[n, VIEWED_AT] = viewed_at
    rows[n, SALT] = salt


@leaf()
def _put_bytes(out, to, text):  # type: ignore[no-untyped-def]
    for i in range(text.shape[0]):
        out[to + i] = text[i]
    return to + text.shape[0]


@leaf()
def _put_number(out, to, number):  # type: ignore[no-untyped-def]
    """Write a number that is not negative in decimal digits. Return the place after it."""
    digits = 1
    rest = number // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for i in range(digits):
        out[to + digits - 1 - i] = 48 + number % 10
        number //= 10
    return to + digits


@njit(cache=True, nogil=True)
def make_ids(datums, rows, random, salts):  # type: ignore[no-untyped-def]
    """Write a UUIDv4 into each event that lacks its id, and its salt into its row. Return the ids as a list in JSON.

    `random` has 16 random bytes for each of these events. The list has services.ingest.packing.Made's fields.
    """
    missing = random.shape[0] // _ID_BYTES
    out = np.empty(missing * MADE_BYTES_MAX + 2, np.uint8)
    out[0] = 0x5B
    to = 1
    used = 0
    for index in range(rows.shape[0]):
        if rows[index, SALT] != NO_ID:
            continue
        at = rows[index, DATUM_AT]
        for i in range(_ID_BYTES):
            datums[at + i] = random[used + i]
        used += _ID_BYTES
        datums[at + 6] = datums[at + 6] & 0x0F | 0x40
        datums[at + 8] = datums[at + 8] & 0x3F | 0x80
        rows[index, SALT] = salt_of(datums, at, salts)
        if to > 1:
            out[to] = 0x2C
            to += 1
        to = _put_bytes(out, to, _MADE_INDEX)
        to = _put_number(out, to, index)
        to = _put_bytes(out, to, _MADE_ID)
        for i in range(_ID_BYTES):
            if i in (4, 6, 8, 10):
                out[to] = 0x2D
                to += 1
            out[to] = _HEX[datums[at + i] >> 4]
            out[to + 1] = _HEX[datums[at + i] & 15]
            to += 2
        to = _put_bytes(out, to, _MADE_TIME)
        to = _put_number(out, to, rows[index, VIEWED_AT])
        out[to] = 0x7D
        to += 1
    out[to] = 0x5D
    return out[: to + 1]


@njit(cache=True, nogil=True)
def by_salt(datums, rows, salts, tail):  # type: ignore[no-untyped-def]
    """Return the events that have a salt, sorted by it, and in the order of the body within a salt.

    These are (their bytes, each followed by the tail; the end of each, from the first one of its salt; the index of
    each in the body; for each salt, how many events lie before its first one; and how many bytes). The last two go on
    with a number for all salts.
    """
    firsts = np.zeros(salts + 1, np.int64)
    size = 0
    for index in range(rows.shape[0]):
        salt = rows[index, SALT]
        if salt >= 0:
            firsts[salt + 1] += 1
            size += rows[index, DATUM_END] - rows[index, DATUM_AT] + tail.shape[0]
    for salt in range(salts):
        firsts[salt + 1] += firsts[salt]
    order = np.empty(firsts[salts], np.int64)
    next_place = firsts.copy()
    for index in range(rows.shape[0]):
        salt = rows[index, SALT]
        if salt >= 0:
            order[next_place[salt]] = index
            next_place[salt] += 1
    out = np.empty(size, np.uint8)
    edges = np.zeros(salts + 1, np.int64)
    ends = np.empty(order.shape[0], np.int64)
    to = 0
    for salt in range(salts):
        for place in range(firsts[salt], firsts[salt + 1]):
            at = rows[order[place], DATUM_AT]
            length = rows[order[place], DATUM_END] - at
            for i in range(length):
                out[to + i] = datums[at + i]
            to += length
            for i in range(tail.shape[0]):
                out[to + i] = tail[i]
            to += tail.shape[0]
            ends[place] = to - edges[salt]
        edges[salt + 1] = to
    return out, ends, order, firsts, edges
