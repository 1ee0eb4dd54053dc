"""Reads events from the blocks of an Avro container, without a Python object for each.

As in udfs.logic.wire.json_events, the kernel takes what nearly all clients send, and judges nothing. If one event is
not among that, it takes none of the body. The bytes of an event in version 1 are its datum, as they lie, so they must
be the only ones that an encoder may write for it: a number may have no more bytes than it needs. A viewer_id that names
no viewer becomes null where it lies: what stands before it moves up to what stands behind it.
"""

import numpy as np

from schemas.limits import (
    COUNTRY_BYTES_MAX,
    DEVICE_BYTES_MAX,
    KIND_BYTES_MAX,
    VIDEO_ID_BYTES_MAX,
    VIEWER_ID_BYTES_MAX,
)
from schemas.values import ID_BYTES
from udfs.logic.kernels.hashing import salt_of
from udfs.logic.kernels.nobody import is_nobody
from udfs.logic.kernels.numba_compat import leaf, load_u64, njit
from udfs.logic.wire.batch_scan import EVENT_BYTES_MIN, OPTIONAL_TEXTS_1, is_utf8, read_string, read_varint
from udfs.logic.wire.event_rows import COLUMNS, put_row

_COLON = 0x3A
_NULL = 0
_ID_BYTES = ID_BYTES
_NO_BITS = np.uint64(0)
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


@leaf()
def _number(buf, at):  # type: ignore[no-untyped-def]
    """Return (value, place after it). The place is below 0 if no number can be read, or it has a byte too many."""
    value, end = read_varint(buf, at)
    if end > at + 1 and buf[end - 1] == 0:
        end = -1
    return value, end


@leaf()
def _text_end(buf, at, bytes_min, bytes_max):  # type: ignore[no-untyped-def]
    """Return the place after a text of so many bytes of UTF-8; below 0 if it is none."""
    length, at = _number(buf, at)
    if at < 0 or length < bytes_min or length > bytes_max or length > buf.shape[0] - at:
        return -1
    return at + length if is_utf8(buf, at, length) else -1


@leaf()
def _optional_end(buf, at, bytes_max):  # type: ignore[no-untyped-def]
    """Return the place after a text or null; below 0 if it is neither."""
    branch, at = _number(buf, at)
    if at < 0 or branch == 0:
        return at
    return _text_end(buf, at, 0, bytes_max) if branch == 1 else -1


@leaf()
def _is_reserved(buf, at):  # type: ignore[no-untyped-def]
    first = load_u64(buf, at)
    return first == load_u64(buf, at + 8) and first in (_NO_BITS, _ALL_BITS)


@leaf()
def _without_nobody(buf, start, at, end):  # type: ignore[no-untyped-def]
    """Make a viewer_id null that names no viewer. Return where the event begins now; it began at `start`.

    The viewer_id is a text or null at buf[at:end]. The texts that name no viewer have a length of one byte.
    """
    if buf[at] == _NULL or not is_nobody(buf, at + 2, np.int64(buf[at + 1]) >> 1 if buf[at + 1] < 128 else -1):
        return start
    moved = end - 1 - at
    for i in range(at - 1, start - 1, -1):
        buf[i + moved] = buf[i]
    buf[end - 1] = _NULL
    return start + moved


@leaf()
def _event_end(buf, at, earliest_ms, end_ms):  # type: ignore[no-untyped-def]
    """Return (place after the fields of version 1, viewed_at, where the event begins now).

    The place is below 0 if the event is not taken.
    """
    viewed_at = np.int64(0)
    start = at
    if buf.shape[0] - at < EVENT_BYTES_MIN or _is_reserved(buf, at):
        return -1, viewed_at, start
    at = _text_end(buf, at + _ID_BYTES, 1, VIDEO_ID_BYTES_MAX)
    if at >= 0:
        viewed_at, at = _number(buf, at)
    if at < 0 or not earliest_ms <= viewed_at < end_ms:
        return -1, viewed_at, start
    kind_at = at
    at = _text_end(buf, at, 1, KIND_BYTES_MAX)
    # The first byte is the length.
    for i in range(kind_at + 1, at):
        if buf[i] == _COLON:
            return -1, viewed_at, start
    viewer_at = viewer_end = at
    if at >= 0:
        at = viewer_end = _optional_end(buf, at, VIEWER_ID_BYTES_MAX)
    if at >= 0:
        at = _optional_end(buf, at, COUNTRY_BYTES_MAX)
    if at >= 0:
        at = _optional_end(buf, at, DEVICE_BYTES_MAX)
    if at >= 0:
        start = _without_nobody(buf, start, viewer_at, viewer_end)
    return at, viewed_at, start


@leaf()
def _after_others(buf, at, others):  # type: ignore[no-untyped-def]
    """Return the place after so many optional texts; below 0 if they cannot be read."""
    for _ in range(others):
        branch, at = read_varint(buf, at)
        if at >= 0 and branch == 1:
            _, _, at = read_string(buf, at)
        elif branch != 0:
            return -1
        if at < 0:
            return at
    return at


@njit(cache=True, nogil=True)
def read_datums(buf, block_ends, counts, optional_texts, earliest_ms, end_ms, salts):  # type: ignore[no-untyped-def]
    """Return (rows of the events of all blocks, their number, whether an event lost its viewer_id).

    The number is -1 if some event is not taken. A viewer_id is lost that names no viewer. The rows are those of
    udfs.logic.wire.event_rows. `buf` has the unpacked blocks one after the other, is changed, and is where the rows say
    that datums lie. Each block has its number of events and ends with the last one. An event ends with so
    many optional texts, see OPTIONAL_TEXTS; those that version 1 has not are left out. A time is taken from earliest_ms
    up to, not including, end_ms.
    """
    rows_max = buf.shape[0] // EVENT_BYTES_MIN
    rows = np.empty((rows_max, COLUMNS), np.int64)
    n = 0
    at = np.int64(0)
    has_nobody = False
    for block in range(counts.shape[0]):
        if counts[block] > rows_max - n:
            return rows, -1, False
        for _ in range(counts[block]):
            begin = at
            end, viewed_at, start = _event_end(buf, begin, earliest_ms, end_ms)
            if end < 0:
                return rows, -1, False
            at = _after_others(buf, end, optional_texts - OPTIONAL_TEXTS_1)
            if at < 0:
                return rows, -1, False
            has_nobody = has_nobody or start != begin
            put_row(rows, n, start, at, start, end, viewed_at, salt_of(buf, start, salts))
            n += 1
        if at != block_ends[block]:
            return rows, -1, False
    return rows, n, has_nobody
