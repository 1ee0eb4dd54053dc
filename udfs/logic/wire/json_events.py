"""Reads events in JSON as bytes, without a Python object for each: `{"events": [...]}`, or one on each line.

A kernel takes the events that nearly all clients send, and writes each as a ViewEvent datum of version 1. It does not
judge the others. It says where they lie, and services.ingest reads them field by field, with an error text for each.
So the kernel takes an event only if services.ingest.events and packing make the same bytes of it. It takes these:

- known fields, each at most once, in any order; texts without escapes, in UTF-8 and within their limits;
- an id of 36 or 32 characters that is neither the nil nor the max UUID; an event without one gets it later;
- a time in ms or in RFC 3339 that is within the bounds that the caller gives, or none where the rules allow that;
- a kind without a colon, because reserved kinds have one.

The grammar of the texts is RFC 8259's. Nothing reads or writes outside of the arrays, whatever the bytes are, and the
time is linear in their number.
"""

import numpy as np

from schemas.limits import (
    COUNTRY_BYTES_MAX,
    DEVICE_BYTES_MAX,
    KIND_BYTES_MAX,
    VIDEO_ID_BYTES_MAX,
    VIEWER_ID_BYTES_MAX,
)
from udfs.logic.kernels.hashing import salt_of
from udfs.logic.kernels.nobody import is_nobody
from udfs.logic.kernels.numba_compat import leaf, load_u32, load_u64, njit, store_u64, zeros_below
from udfs.logic.wire.batch_scan import is_utf8
from udfs.logic.wire.event_rows import COLUMNS, LEFT, NO_ID, put_row

# A taken event is at least {"video_id":"A"}. A body with more events than fit by this is not read at all.
EVENT_BYTES_MIN = 16
# What a datum has besides the bytes of its texts: id, time, and for each of five texts its branch and length. The kind
# "view" is not in the body.
DATUM_BYTES_BESIDE = 48
# Words are written whole, so that up to seven bytes behind a text are written and then overwritten.
SLACK_BYTES = 64
_ID_DIGITS = 32


def _word(name: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(name[:8].ljust(8, b"\0"), "little"))


_VIDEO_ID = _word(b"video_id")
_EVENT_ID = _word(b"event_id")
_VIEWED_A = _word(b"viewed_at")
_VIEWER_I = _word(b"viewer_id")
_COUNTRY = _word(b'country"')
_DEVICE = _word(b'device"')
_KIND = _word(b'kind"')
_BYTES_7 = np.uint64((1 << 56) - 1)
_BYTES_5 = np.uint64((1 << 40) - 1)
_EVENTS = _word(b'"events"')
_VIEW = np.uint32(int.from_bytes(b"view", "little"))
_NULL = np.uint32(int.from_bytes(b"null", "little"))

_QUOTE, _BACKSLASH, _COMMA, _COLON = 0x22, 0x5C, 0x2C, 0x3A
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 0x7B, 0x7D, 0x5B, 0x5D
_DASH, _PLUS, _DOT, _ZERO, _NINE, _NEWLINE = 0x2D, 0x2B, 0x2E, 0x30, 0x39, 0x0A
# The value of each hex digit; 255 for every other byte.
_HEX = np.full(256, 255, np.uint8)
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_VERSION_7, _RFC_VARIANT = 7, 2
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000


@leaf()
def _space(buf, at):  # type: ignore[no-untyped-def]
    """Return the place of the next byte that is no white space."""
    while at < buf.shape[0] and buf[at] in (0x20, 0x0A, 0x0D, 0x09):
        at += 1
    return at


@leaf()
def _text_end(buf, at):  # type: ignore[no-untyped-def]
    """Return the place of the quote that ends the text at buf[at]; -1 if it has an escape or is no UTF-8."""
    size = buf.shape[0]
    start = at
    is_ascii = True
    while True:
        if size - at >= 8:
            word = load_u64(buf, at)
            quotes = word ^ _QUOTES
            slashes = word ^ _BACKSLASHES
            # The lowest byte whose high bit is set is a quote, a backslash, a control character or no ASCII. Bits above
            # it may be wrong, because a subtraction borrows.
            found = (
                ((quotes - _ONES) & ~quotes) | ((slashes - _ONES) & ~slashes) | ((word - _SPACES) & ~word) | word
            ) & _HIGHS
            if found == 0:
                at += 8
                continue
            at += np.int64(zeros_below(found) >> np.uint64(3))
        elif at >= size:
            return -1
        octet = buf[at]
        if octet == _QUOTE:
            break
        if octet == _BACKSLASH or octet < 0x20:
            return -1
        is_ascii = is_ascii and octet < 0x80
        at += 1
    if not is_ascii and not is_utf8(buf, start, at - start):
        return -1
    return at


@leaf()
def _object_end(buf, at):  # type: ignore[no-untyped-def]
    """Return the place after the object that begins at buf[at]; -1 if it does not end. It need not be valid JSON."""
    depth = 0
    size = buf.shape[0]
    while at < size:
        octet = buf[at]
        at += 1
        if octet == _QUOTE:
            while at < size and buf[at] != _QUOTE:
                at += 2 if buf[at] == _BACKSLASH else 1
            at += 1
        elif octet in (_OPEN, _OPEN_LIST):
            depth += 1
        elif octet in (_CLOSE, _CLOSE_LIST):
            depth -= 1
            if depth == 0:
                return at
    return -1


@leaf()
def _id_end(buf, at, out, to):  # type: ignore[no-untyped-def]
    """Write the id in the text at buf[at] to out[to : to + 16]. Return the place after it; -1 if it is not plain."""
    size = buf.shape[0]
    if size - at <= _ID_DIGITS:
        return -1
    dashes = 1 if buf[at + 8] == _DASH else 0
    end = at + _ID_DIGITS + 4 * dashes
    if end >= size or buf[end] != _QUOTE:
        return -1
    if dashes and not (buf[at + 13] == _DASH and buf[at + 18] == _DASH and buf[at + 23] == _DASH):
        return -1
    wrong = np.uint8(0)
    some = np.uint8(0)
    every = np.uint8(255)
    for i in range(16):
        if i in (4, 6, 8, 10):
            at += dashes
        high = _HEX[buf[at]]
        low = _HEX[buf[at + 1]]
        wrong |= high | low
        octet = np.uint8((high << 4) | low)
        some |= octet
        every &= octet
        out[to + i] = octet
        at += 2
    if wrong > 15 or some == 0 or every == 255:
        return -1
    return end


@leaf()
def _two(buf, at):  # type: ignore[no-untyped-def]
    """Return the number of the two digits at buf[at]; below 0 if they are none."""
    high = np.int64(buf[at]) - _ZERO
    low = np.int64(buf[at + 1]) - _ZERO
    if high < 0 or high > 9 or low < 0 or low > 9:
        return np.int64(-1)
    return 10 * high + low


@leaf()
def _days_of(year, month, day):  # type: ignore[no-untyped-def]
    """Return the days since 1970 of a day of the years 2000 to 2099; -1 if the calendar has no such day."""
    if day < 1 or month < 1 or month > 12:
        return -1
    month_days = 30 + ((month + (month >> 3)) & 1)
    if month == 2:
        month_days = 29 if year % 4 == 0 else 28
    if day > month_days:
        return -1
    # The years begin in March, so that a leap day is the last one. Day 0 is 1 March 1968.
    years = year - 1968 - (1 if month < 3 else 0)
    months = month + 9 if month < 3 else month - 3
    return years * 365 + years // 4 + (153 * months + 2) // 5 + day - 1 - 671


@leaf()
def _time_end(buf, at):  # type: ignore[no-untyped-def]
    """Return (ms since 1970 of the RFC 3339 text at buf[at], place after it); the place is -1 if it is not plain."""
    size = buf.shape[0]
    if size - at < 21:
        return np.int64(0), -1
    century = _two(buf, at)
    year = _two(buf, at + 2)
    month = _two(buf, at + 5)
    day = _two(buf, at + 8)
    hour = _two(buf, at + 11)
    minute = _two(buf, at + 14)
    second = _two(buf, at + 17)
    if (year | month | day | hour | minute | second) < 0 or century != 20:
        return np.int64(0), -1
    if buf[at + 4] != _DASH or buf[at + 7] != _DASH or buf[at + 13] != _COLON or buf[at + 16] != _COLON:
        return np.int64(0), -1
    between = buf[at + 10]
    if between not in (0x54, 0x74, 0x20):
        return np.int64(0), -1
    days = _days_of(2000 + year, month, day)
    if days < 0 or hour > 23 or minute > 59 or second > 59:
        return np.int64(0), -1
    ms = days * _DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000
    at += 19
    if buf[at] == _DOT:
        at += 1
        scale = 100
        first = at
        while at < size and _ZERO <= buf[at] <= _NINE:
            ms += (np.int64(buf[at]) - _ZERO) * scale
            scale //= 10
            at += 1
        if at == first:
            return np.int64(0), -1
    if at >= size:
        return np.int64(0), -1
    zone = buf[at]
    at += 1
    if zone in (_PLUS, _DASH):
        if size - at < 6:
            return np.int64(0), -1
        hours = _two(buf, at)
        at += 3 if buf[at + 2] == _COLON else 2
        minutes = _two(buf, at)
        at += 2
        if hours < 0 or minutes < 0 or hours > 23 or minutes > 59:
            return np.int64(0), -1
        ms += (hours * 60 + minutes) * (_MINUTE_MS if zone == _DASH else -_MINUTE_MS)
    elif zone not in (0x5A, 0x7A):
        return np.int64(0), -1
    if at >= size or buf[at] != _QUOTE:
        return np.int64(0), -1
    return ms, at


@leaf()
def _copy(out, to, buf, at, length):  # type: ignore[no-untyped-def]
    """Copy a text. `out` has room for SLACK_BYTES more."""
    if buf.shape[0] - at >= length + 8:
        for i in range(0, length, 8):
            store_u64(out, to + i, load_u64(buf, at + i))
    else:
        for i in range(length):
            out[to + i] = buf[at + i]


@leaf()
def _put_text(out, to, buf, at, length):  # type: ignore[no-untyped-def]
    """Write a text of fewer than 8192 bytes with its length. Return the place after it."""
    zigzag = length << 1
    if zigzag > 127:
        out[to] = np.uint8(zigzag & 127 | 128)
        to += 1
        zigzag >>= 7
    out[to] = np.uint8(zigzag)
    _copy(out, to + 1, buf, at, length)
    return to + 1 + length


@leaf()
def _put_some(out, to, buf, at, length):  # type: ignore[no-untyped-def]
    """Write an optional text, which is null if its length is below 0. Return the place after it."""
    if length < 0:
        out[to] = 0
        return to + 1
    out[to] = 2
    return _put_text(out, to + 1, buf, at, length)


@leaf()
def _is_plain_kind(buf, at, length):  # type: ignore[no-untyped-def]
    for i in range(length):
        if buf[at + i] == _COLON:
            return False
    return 0 < length <= KIND_BYTES_MAX


@leaf()
def _event(buf, at, out, to, now_ms, earliest_ms, end_ms):  # type: ignore[no-untyped-def]
    """Read the event that begins at buf[at] and write its datum to out[to:].

    Return (the place after the event, the place after the datum, viewed_at, whether it has an id, whether it lost a
    viewer_id that names no viewer). The place after the event is -1 if it is not taken. The bytes of an id that it
    lacks are left as they are.
    """
    size = buf.shape[0]
    no_event = np.int64(-1), to, np.int64(0), False, False
    seen = 0
    has_id = False
    has_time = False
    viewed_at = np.int64(0)
    video_at = kind_at = viewer_at = country_at = device_at = np.int64(0)
    video_len = kind_len = viewer_len = country_len = device_len = np.int64(-1)
    at = _space(buf, at + 1)
    while True:
        # The shortest last field of a valid event is "kind":"a"}.
        if size - at < 11 or buf[at] != _QUOTE:
            return no_event
        at += 1
        word = load_u64(buf, at)
        if word == _VIDEO_ID:
            field = 0
            at += 8
        elif word == _EVENT_ID:
            field = 1
            at += 8
        elif word == _VIEWED_A and buf[at + 8] == 0x74:
            field = 2
            at += 9
        elif word & _BYTES_5 == _KIND:
            field = 3
            at += 4
        elif word == _VIEWER_I and buf[at + 8] == 0x64:
            field = 4
            at += 9
        elif word == _COUNTRY:
            field = 5
            at += 7
        elif word & _BYTES_7 == _DEVICE:
            field = 6
            at += 6
        else:
            return no_event
        if buf[at] != _QUOTE or seen >> field & 1:
            return no_event
        seen |= 1 << field
        at = _space(buf, at + 1)
        if at >= size or buf[at] != _COLON:
            return no_event
        at = _space(buf, at + 1)
        if size - at < 4:
            return no_event
        if buf[at] == _QUOTE:
            at += 1
            if field == 1:
                at = _id_end(buf, at, out, to)
                if at < 0:
                    return no_event
                has_id = True
            elif field == 2:
                viewed_at, at = _time_end(buf, at)
                if at < 0:
                    return no_event
                has_time = True
            else:
                start = at
                at = _text_end(buf, at)
                if at < 0:
                    return no_event
                length = at - start
                if field == 0:
                    video_at, video_len = start, length
                elif field == 3:
                    kind_at, kind_len = start, length
                    if not _is_plain_kind(buf, start, length):
                        return no_event
                elif field == 4:
                    viewer_at, viewer_len = start, length
                elif field == 5:
                    country_at, country_len = start, length
                else:
                    device_at, device_len = start, length
            at += 1
        elif load_u32(buf, at) == _NULL and field not in (0, 3):
            at += 4
        elif field == 2:
            start = at
            if buf[at] == _ZERO:
                return no_event
            while at < size and _ZERO <= buf[at] <= _NINE and at - start < 15:
                viewed_at = viewed_at * 10 + (np.int64(buf[at]) - _ZERO)
                at += 1
            if at == start:
                return no_event
            has_time = True
        else:
            return no_event
        at = _space(buf, at)
        if at >= size:
            return no_event
        octet = buf[at]
        at += 1
        if octet == _CLOSE:
            break
        if octet != _COMMA:
            return no_event
        at = _space(buf, at)
    if not 0 < video_len <= VIDEO_ID_BYTES_MAX:
        return no_event
    if viewer_len > VIEWER_ID_BYTES_MAX or country_len > COUNTRY_BYTES_MAX or device_len > DEVICE_BYTES_MAX:
        return no_event
    if not has_time:
        if not has_id:
            viewed_at = now_ms
        elif out[to + 6] >> 4 == _VERSION_7 and out[to + 8] >> 6 == _RFC_VARIANT:
            for i in range(6):
                viewed_at = viewed_at << 8 | np.int64(out[to + i])
        else:
            return no_event
    if not earliest_ms <= viewed_at < end_ms:
        return no_event
    to = _put_text(out, to + 16, buf, video_at, video_len)
    zigzag = viewed_at << 1
    while zigzag > 127:
        out[to] = np.uint8(zigzag & 127 | 128)
        zigzag >>= 7
        to += 1
    out[to] = np.uint8(zigzag)
    to += 1
    if kind_len < 0:
        out[to] = 8
        out[to + 1] = 0x76
        out[to + 2] = 0x69
        out[to + 3] = 0x65
        out[to + 4] = 0x77
        to += 5
    else:
        to = _put_text(out, to, buf, kind_at, kind_len)
    is_lost = viewer_len >= 0 and is_nobody(buf, viewer_at, viewer_len)
    if is_lost:
        viewer_len = np.int64(-1)
    to = _put_some(out, to, buf, viewer_at, viewer_len)
    to = _put_some(out, to, buf, country_at, country_len)
    to = _put_some(out, to, buf, device_at, device_len)
    return at, to, viewed_at, has_id, is_lost


@leaf()
def _events_begin(buf):  # type: ignore[no-untyped-def]
    """Return the place after `{"events": [`; -1 if the body does not begin with it."""
    size = buf.shape[0]
    at = _space(buf, 0)
    if at >= size or buf[at] != _OPEN:
        return -1
    at = _space(buf, at + 1)
    if size - at < 8 or load_u64(buf, at) != _EVENTS:
        return -1
    at = _space(buf, at + 8)
    if at >= size or buf[at] != _COLON:
        return -1
    at = _space(buf, at + 1)
    return _space(buf, at + 1) if at < size and buf[at] == _OPEN_LIST else -1


@leaf()
def _after_event(buf, at):  # type: ignore[no-untyped-def]
    """Return (the place of the next event or of the end of the list, whether it is the end); -1 if it is neither."""
    size = buf.shape[0]
    at = _space(buf, at)
    if at < size and buf[at] == _COMMA:
        at = _space(buf, at + 1)
        return (at, False) if at < size and buf[at] == _OPEN else (-1, False)
    return (at, True) if at < size and buf[at] == _CLOSE_LIST else (-1, False)


@leaf()
def _is_end(buf, at):  # type: ignore[no-untyped-def]
    """Return whether the body ends after the list whose end is at buf[at]."""
    at = _space(buf, at + 1)
    return at < buf.shape[0] and buf[at] == _CLOSE and _space(buf, at + 1) == buf.shape[0]


@leaf()
def _after_line(buf, start, end):  # type: ignore[no-untyped-def]
    """Return the place of the next line that is not blank, or of the body's end; -1 if the event is no line."""
    size = buf.shape[0]
    while end - start >= 8:
        word = load_u64(buf, start) ^ _NEWLINES
        if (word - _ONES) & ~word & _HIGHS:
            return -1
        start += 8
    for i in range(start, end):
        if buf[i] == _NEWLINE:
            return -1
    while end < size and buf[end] != _NEWLINE:
        if buf[end] not in (0x20, 0x09, 0x0D):
            return -1
        end += 1
    end = _space(buf, end)
    return end if end >= size or buf[end] == _OPEN else -1


@njit(cache=True, nogil=True)
def read_events(buf, is_lines, now_ms, earliest_ms, end_ms, salts):  # type: ignore[no-untyped-def]
    """Read a body. Return (datums, rows, number of events, end of the list, whether an event lost its viewer_id).

    For datums and rows see udfs.logic.wire.event_rows. A viewer_id is lost that names no viewer. The end of the list is
    the place of its bracket if anything but the end of the body follows, which the caller must judge. Otherwise it is
    -1.

    A time is taken from earliest_ms up to, not including, end_ms. An event without id and time gets now_ms. If the body
    as a whole is not of the form that this module reads, the number is -1.
    """
    size = buf.shape[0]
    rows_max = size // EVENT_BYTES_MIN + 1
    rows = np.empty((rows_max, COLUMNS), np.int64)
    datums = np.empty(size + rows_max * DATUM_BYTES_BESIDE + SLACK_BYTES, np.uint8)
    n = 0
    to = np.int64(0)
    has_nobody = False
    if is_lines:
        at = _space(buf, 0)
        is_last = at >= size
        if not is_last and buf[at] != _OPEN:
            at = -1
    else:
        at = _events_begin(buf)
        is_last = 0 <= at < size and buf[at] == _CLOSE_LIST
        if at >= 0 and not is_last and (at >= size or buf[at] != _OPEN):
            at = -1
    while at >= 0 and not is_last:
        if n == rows_max:
            return datums, rows, -1, -1, False
        end, datum_end, viewed_at, has_id, is_lost = _event(buf, at, datums, to, now_ms, earliest_ms, end_ms)
        if end < 0:
            end = _object_end(buf, at)
            if end < 0:
                return datums, rows, -1, -1, False
            put_row(rows, n, at, end, to, to, 0, LEFT)
        else:
            put_row(rows, n, at, end, to, datum_end, viewed_at, salt_of(datums, to, salts) if has_id else NO_ID)
            to = datum_end
            has_nobody = has_nobody or is_lost
        n += 1
        if is_lines:
            at = _after_line(buf, at, end)
            is_last = at >= size
        else:
            at, is_last = _after_event(buf, end)
    close = -1 if is_lines or at < 0 or _is_end(buf, at) else at
    if at < 0:
        return datums, rows, -1, -1, False
    return datums, rows, n, close, has_nobody
