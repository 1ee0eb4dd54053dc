"""Scans the bytes of a ViewBatch of either version, which may be anything: where each event lies, and what is wrong.

A value that cannot be read from end to end is unreadable as a whole, with a reason. An event that can be read but
breaks a rule (length, UTF-8, salt) has a fault, which does not affect the other events. Dedup judges times, not this
module. The encoding is that of the Avro 1.12 specification, "Data Serialization".
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from schemas import registry
from schemas.kinds import BLOCKED_PREFIX
from schemas.limits import KIND_BYTES_MAX, VIDEO_ID_BYTES_MAX
from udfs.logic.kernels.hashing import salt_of
from udfs.logic.kernels.numba_compat import leaf, load_u64, njit

# The shortest event of version 1: the id, three one-byte lengths or times and three one-byte unions.
EVENT_BYTES_MIN = 22
# How many optional texts an event ends with, by version of the schemas. Those of version 1 come first in version 2, so
# that code that needs no more than these reads both versions as version 1.
OPTIONAL_TEXTS = {1: 3, 2: 6}
OPTIONAL_TEXTS_1 = OPTIONAL_TEXTS[1]


class Unreadable(IntEnum):
    """Why a whole record cannot be read; the name in lower case is the reason in the dead letter."""

    UNKNOWN_SCHEMA = 1
    TRUNCATED = 2
    COUNT_EXCEEDS_BYTES = 3
    BAD_VARINT = 4
    NEGATIVE_LENGTH = 5
    BAD_UNION_BRANCH = 6
    BLOCK_SIZE_WRONG = 7
    BYTES_AFTER_END = 8
    SALTS_DIFFER_FROM_TOPIC = 9
    SALT_DIFFERS_FROM_KEY = 10


class Fault(IntEnum):
    """What is wrong with one event; the name in lower case is the reason in the dead letter."""

    NONE = 0
    VIDEO_ID_EMPTY = 1
    VIDEO_ID_TOO_LONG = 2
    VIDEO_ID_NOT_UTF8 = 3
    KIND_EMPTY = 4
    KIND_TOO_LONG = 5
    KIND_NOT_UTF8 = 6
    OPTIONAL_FIELD_NOT_UTF8 = 7
    WRONG_SALT = 8
    KIND_RESERVED = 9


# Columns of Scan.spans.
START, END, VIDEO_AT, VIDEO_LEN, KIND_AT, KIND_LEN, VIEWER_AT, VIEWER_LEN = range(8)
BLOCKED_PREFIX_BYTES = np.frombuffer(BLOCKED_PREFIX.encode(), np.uint8)

_NO_ASCII = np.uint64(0x8080808080808080)
_TRUNCATED = int(Unreadable.TRUNCATED)
_COUNT = int(Unreadable.COUNT_EXCEEDS_BYTES)
_VARINT = int(Unreadable.BAD_VARINT)
_NEGATIVE = int(Unreadable.NEGATIVE_LENGTH)
_UNION = int(Unreadable.BAD_UNION_BRANCH)
_BLOCK = int(Unreadable.BLOCK_SIZE_WRONG)
_AFTER = int(Unreadable.BYTES_AFTER_END)
_SALTS = int(Unreadable.SALTS_DIFFER_FROM_TOPIC)
_SALT = int(Unreadable.SALT_DIFFERS_FROM_KEY)
_VIDEO_EMPTY = int(Fault.VIDEO_ID_EMPTY)
_VIDEO_LONG = int(Fault.VIDEO_ID_TOO_LONG)
_VIDEO_UTF8 = int(Fault.VIDEO_ID_NOT_UTF8)
_KIND_EMPTY = int(Fault.KIND_EMPTY)
_KIND_LONG = int(Fault.KIND_TOO_LONG)
_KIND_UTF8 = int(Fault.KIND_NOT_UTF8)
_OPTIONAL_UTF8 = int(Fault.OPTIONAL_FIELD_NOT_UTF8)
_WRONG_SALT = int(Fault.WRONG_SALT)
_KIND_RESERVED = int(Fault.KIND_RESERVED)


@dataclass(frozen=True)
class Scan:
    """A readable batch. Rows of `spans` (int64[n, 8], columns START to VIEWER_LEN) are places in the value.

    A viewer_id that is null has the length 0. `produced_ms` is when the batch was made, as it says.
    """

    batch_id: bytes
    produced_ms: int
    spans: npt.NDArray[np.int64]
    viewed_at: npt.NDArray[np.int64]
    faults: npt.NDArray[np.uint8]


@leaf()
def read_varint(buf, at):  # type: ignore[no-untyped-def]
    """Return (value, place after it). If no number can be read, the place is minus the reason."""
    # Most numbers are lengths and branches of one byte.
    if at < buf.shape[0] and buf[at] < 128:
        short = np.int64(buf[at])
        return (short >> 1) ^ -(short & 1), at + 1
    value = np.uint64(0)
    shift = np.uint64(0)
    for i in range(10):
        if at + i >= buf.shape[0]:
            return np.int64(0), -_TRUNCATED
        byte = np.uint64(buf[at + i])
        if i == 9 and byte > 1:
            break
        value |= (byte & np.uint64(127)) << shift
        if byte < 128:
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at + i + 1
        shift += np.uint64(7)
    return np.int64(0), -_VARINT


@leaf()
def read_string(buf, at):  # type: ignore[no-untyped-def]
    """Return (where its bytes begin, their number, place after them). A negative place is minus the reason."""
    length, at = read_varint(buf, at)
    if at < 0:
        return 0, 0, at
    if length < 0:
        return 0, 0, -_NEGATIVE
    if length > buf.shape[0] - at:
        return 0, 0, -_TRUNCATED
    return at, length, at + length


@leaf()
def is_utf8(buf, at, length):  # type: ignore[no-untyped-def]
    """Return whether buf[at : at + length] is well-formed UTF-8 (Unicode 15, table 3-7)."""
    end = at + length
    # Most texts are ASCII.
    while end - at >= 8 and load_u64(buf, at) & _NO_ASCII == 0:
        at += 8
    while at < end:
        lead = buf[at]
        if lead < 0x80:
            at += 1
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if at + more >= end or not low <= buf[at + 1] <= high:
            return False
        for i in range(2, more + 1):
            if not 0x80 <= buf[at + i] <= 0xBF:
                return False
        at += more + 1
    return True


@leaf()
def put_span(spans, i, start, end, video_at, video_len, kind_at, kind_len, viewer_at, viewer_len):  # type: ignore[no-untyped-def]
    """Write row i of a Scan's spans, from the places that `read_event` returned."""
    spans[i, START] = start
    spans[i, END] = end
    spans[i, VIDEO_AT] = video_at
    spans[i, VIDEO_LEN] = video_len
    spans[i, KIND_AT] = kind_at
    spans[i, KIND_LEN] = kind_len
    spans[i, VIEWER_AT] = viewer_at
    spans[i, VIEWER_LEN] = viewer_len


@leaf()
def read_event(buf, at, optional_texts):  # type: ignore[no-untyped-def]
    """Read a ViewEvent datum that ends with so many optional texts, see OPTIONAL_TEXTS.

    Return (the video's place, its length, viewed_at, the kind's place, its length, the viewer's place, its length,
    whether the optional texts are UTF-8, the place after the event). A negative last place is minus the reason.
    """
    viewer_at = viewer_len = np.int64(0)
    video_at = video_len = viewed_at = kind_at = kind_len = np.int64(0)
    is_text = True
    at += 16
    if at > buf.shape[0]:
        at = -_TRUNCATED
    if at >= 0:
        video_at, video_len, at = read_string(buf, at)
    if at >= 0:
        viewed_at, at = read_varint(buf, at)
    if at >= 0:
        kind_at, kind_len, at = read_string(buf, at)
    for optional in range(optional_texts):
        if at < 0:
            break
        branch, at = read_varint(buf, at)
        if at < 0 or branch == 0:
            continue
        if branch != 1:
            at = -_UNION
            break
        text_at, text_len, at = read_string(buf, at)
        if at < 0:
            break
        if optional == 0:
            viewer_at, viewer_len = text_at, text_len
        is_text = is_text and is_utf8(buf, text_at, text_len)
    return video_at, video_len, viewed_at, kind_at, kind_len, viewer_at, viewer_len, is_text, at


@leaf()
def _has_blocked_prefix(buf, at):  # type: ignore[no-untyped-def]
    for i in range(BLOCKED_PREFIX_BYTES.shape[0]):  # noqa: SIM110 - Numba compiles no generator expression
        if buf[at + i] != BLOCKED_PREFIX_BYTES[i]:
            return False
    return True


@leaf()
def _event_fault(buf, start, video_at, video_len, kind_at, kind_len, salt, salts):  # type: ignore[no-untyped-def]
    if salt_of(buf, start, salts) != salt:
        return _WRONG_SALT
    if video_len == 0:
        return _VIDEO_EMPTY
    if video_len > VIDEO_ID_BYTES_MAX:
        return _VIDEO_LONG
    if not is_utf8(buf, video_at, video_len):
        return _VIDEO_UTF8
    if kind_len == 0:
        return _KIND_EMPTY
    if kind_len > KIND_BYTES_MAX:
        return _KIND_LONG
    if not is_utf8(buf, kind_at, kind_len):
        return _KIND_UTF8
    if kind_len >= BLOCKED_PREFIX_BYTES.shape[0] and _has_blocked_prefix(buf, kind_at):
        return _KIND_RESERVED
    return 0


@leaf()
def _skip_texts(buf, at):  # type: ignore[no-untyped-def]
    """Return the place after an array of texts. A negative place is minus the reason."""
    while True:
        count, at = read_varint(buf, at)
        if at < 0 or count == 0:
            return at
        block_end = np.int64(-1)
        if count < 0:
            size, at = read_varint(buf, at)
            if at < 0:
                return at
            if size < 0 or size > buf.shape[0] - at:
                return -_BLOCK
            block_end = at + size
            count = -count
        # Each text has at least one byte. A count of -2**63 stays negative.
        if count < 0 or count > buf.shape[0] - at:
            return -_COUNT
        for _ in range(count):
            _, _, at = read_string(buf, at)
            if at < 0:
                return at
        if block_end >= 0 and at != block_end:
            return -_BLOCK


@leaf()
def read_header(buf, at, optional_texts):  # type: ignore[no-untyped-def]
    """Return (salt, number of salts, produced_at, where the events begin). A negative place is minus the reason.

    A batch whose events have more optional texts than those of version 1 is of version 2. Its origin, acknowledged and
    traceparents are skipped.
    """
    salt = salts = produced = np.int64(0)
    at += 16
    if at > buf.shape[0]:
        return salt, salts, produced, -_TRUNCATED
    _, _, at = read_string(buf, at)
    if at >= 0:
        salt, at = read_varint(buf, at)
    if at >= 0:
        salts, at = read_varint(buf, at)
    if at >= 0:
        produced, at = read_varint(buf, at)
    if optional_texts > OPTIONAL_TEXTS_1:
        if at >= 0:
            _, _, at = read_string(buf, at)
        branch = np.int64(0)
        if at >= 0:
            branch, at = read_varint(buf, at)
        if at >= 0 and branch == 1:
            _, at = read_varint(buf, at)
        elif at >= 0 and branch != 0:
            at = -_UNION
        if at >= 0:
            at = _skip_texts(buf, at)
    return salt, salts, produced, at


@njit(cache=True)
def _scan(buf, at, key_salt, salts, optional_texts):  # type: ignore[no-untyped-def]
    """Read from the header on. Return (number of events or minus the reason, produced_at, spans, viewed_at, faults)."""
    capacity = max((buf.shape[0] - at) // EVENT_BYTES_MIN, 0) + 1
    spans = np.empty((capacity, 8), np.int64)
    viewed = np.empty(capacity, np.int64)
    faults = np.empty(capacity, np.uint8)
    salt, topic_salts, produced, at = read_header(buf, at, optional_texts)
    if at < 0:
        return at, produced, spans, viewed, faults
    if topic_salts != salts:
        return -_SALTS, produced, spans, viewed, faults
    if key_salt < 0 or salt != key_salt:
        return -_SALT, produced, spans, viewed, faults
    n = 0
    while True:
        count, at = read_varint(buf, at)
        if at < 0:
            return at, produced, spans, viewed, faults
        if count == 0:
            break
        block_end = np.int64(-1)
        if count < 0:
            size, at = read_varint(buf, at)
            if at < 0:
                return at, produced, spans, viewed, faults
            if size < 0 or size > buf.shape[0] - at:
                return -_BLOCK, produced, spans, viewed, faults
            block_end = at + size
            count = -count
        # A count of -2**63 stays negative. It is refused here, like any count that the bytes cannot hold.
        if count < 0 or count > (buf.shape[0] - at) // EVENT_BYTES_MIN:
            return -_COUNT, produced, spans, viewed, faults
        for _ in range(count):
            start = at
            video_at, video_len, viewed_at, kind_at, kind_len, viewer_at, viewer_len, is_text, at = read_event(
                buf, at, optional_texts
            )
            if at < 0:
                return at, produced, spans, viewed, faults
            fault = _event_fault(buf, start, video_at, video_len, kind_at, kind_len, salt, salts)
            if fault == 0 and not is_text:
                fault = _OPTIONAL_UTF8
            put_span(spans, n, start, at, video_at, video_len, kind_at, kind_len, viewer_at, viewer_len)
            viewed[n] = viewed_at
            faults[n] = fault
            n += 1
        if block_end >= 0 and at != block_end:
            return -_BLOCK, produced, spans, viewed, faults
    if at != buf.shape[0]:
        return -_AFTER, produced, spans, viewed, faults
    return n, produced, spans, viewed, faults


def scan(buf: npt.NDArray[np.uint8], key_salt: int, salts: int) -> Scan | Unreadable:
    """Read the value of one record. `key_salt` is the salt that the record's key names, below 0 if it names none."""
    optional_texts = _optional_texts(buf)
    if optional_texts is None:
        return Unreadable.UNKNOWN_SCHEMA
    at = registry.PREFIX_BYTES
    n, produced, spans, viewed_at, faults = _scan(buf, at, key_salt, salts, optional_texts)
    if n < 0:
        return Unreadable(-n)
    return Scan(buf[at : at + 16].tobytes(), produced, spans[:n], viewed_at[:n], faults[:n])


def scan_as_named(buf: npt.NDArray[np.uint8]) -> tuple[int, Scan] | Unreadable:
    """Scan a value under the salt and the number of salts that it names itself. Return (where events begin, the scan).

    Use it to find what was sent, even if it does not count.
    """
    optional_texts = _optional_texts(buf)
    if optional_texts is None:
        return Unreadable.UNKNOWN_SCHEMA
    salt, salts, _, at = _read_header(buf, registry.PREFIX_BYTES, optional_texts)
    found = scan(buf, salt, max(salts, 1))
    return found if isinstance(found, Unreadable) else (int(at), found)


@njit(cache=True)
def _read_header(buf, at, optional_texts):  # type: ignore[no-untyped-def]
    return read_header(buf, at, optional_texts)


def _optional_texts(buf: npt.NDArray[np.uint8]) -> int | None:
    """Return that of the version of ViewBatch with whose prefix the value begins; None if there is none."""
    name, version = registry.by_prefix().get(buf[: registry.PREFIX_BYTES].tobytes(), ("", 0))
    return OPTIONAL_TEXTS.get(version) if name == "ViewBatch" else None
