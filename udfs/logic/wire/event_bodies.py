"""Reads the events of a body by kernels, and sorts them by salt. Its callers are services that take bodies.

`python -m udfs.logic.wire.event_bodies` compiles the kernels into Numba's cache, for an image that has no others.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.values import ID_BYTES, TIME_MIN_MS
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.wire.avro_events import read_datums
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS_1
from udfs.logic.wire.event_rows import (
    DATUM_AT,
    DATUM_END,
    END,
    LEFT,
    NO_ID,
    SALT,
    START,
    VIEWED_AT,
    by_salt,
    make_ids,
)
from udfs.logic.wire.json_events import read_events

_Rows = npt.NDArray[np.int64]


class Bounds(NamedTuple):
    """What an event's time may be, from earliest_ms up to, not including, end_ms; and the time of one without any."""

    now_ms: int
    earliest_ms: int
    end_ms: int


class Sorted(NamedTuple):
    """Events by salt: those of salt s are blocks[s], event n of it ends at ends[s][n] and is indexes[s][n] of the body.

    `made` is a list in JSON of the ids that were made, or empty.
    """

    blocks: list[bytes]
    ends: list[Sequence[int]]
    indexes: list[list[int]]
    made: bytes


class EventRows:
    """The events of one body. The ones that the kernel has not taken are `left`, by their indexes.

    `has_nobody` says that the kernel has left out the viewer_id of an event, since it names no viewer.
    """

    def __init__(
        self,
        body: bytes,
        datums: Bytes,
        rows: _Rows,
        salts: int,
        *,
        is_lines: bool,
        has_nobody: bool,
        close: int = -1,
    ) -> None:
        self._body = body
        self._is_lines = is_lines
        # What follows the list of events; None if the body ends as it should.
        self.rest = body[close + 1 :] if close >= 0 else None
        self._datums = datums
        self._rows = rows
        self._salts = salts
        self.has_nobody = has_nobody
        self.left: list[int] = np.nonzero(rows[:, SALT] == LEFT)[0].tolist()

    @property
    def taken(self) -> int:
        """How many events the kernel has taken."""
        return len(self._rows) - len(self.left)

    def taken_before(self, at_ms: int) -> list[int]:
        """Return the indexes of the events that the kernel has taken and that were viewed before this time."""
        rows = self._rows
        before: list[int] = np.nonzero((rows[:, VIEWED_AT] < at_ms) & (rows[:, SALT] != LEFT))[0].tolist()
        return before

    def texts_left(self) -> list[bytes]:
        """Return the bytes of each event that is left, or of its whole line: an error text counts the line's bytes."""
        body = self._body
        spans = self._rows[self.left][:, [START, END]].tolist()
        if not self._is_lines:
            return [body[start:end] for start, end in spans]
        lines = []
        for start, end in spans:
            line_end = body.find(b"\n", end)
            lines.append(body[body.rfind(b"\n", 0, start) + 1 : line_end if line_end >= 0 else None])
        return lines

    def put(self, blocks: Sequence[bytes], ends: Sequence[Sequence[int]], indexes: Sequence[Sequence[int]]) -> None:
        """Add events by salt, as in Sorted, that were left here and that somebody else has read."""
        rows = self._rows
        used = int(rows[-1, DATUM_END])
        octets = b"".join(blocks)
        self._datums = np.concatenate((self._datums[:used], np.frombuffer(octets, np.uint8)))
        for salt, (block, datum_ends, places) in enumerate(zip(blocks, ends, indexes, strict=True)):
            for place, (start, end) in zip(places, pairwise([0, *datum_ends]), strict=True):
                rows[place, DATUM_AT], rows[place, DATUM_END], rows[place, SALT] = used + start, used + end, salt
            used += len(block)

    def ids_missing(self) -> int:
        """How many events have no id yet."""
        return int(np.count_nonzero(self._rows[:, SALT] == NO_ID))

    def sorted(self, tail: bytes, random: bytes) -> Sorted:
        """Return the events that were taken or put, each with the tail behind it.

        `random` has ID_BYTES random bytes for each id that is missing.
        """
        made = b""
        if random:
            made = make_ids(self._datums, self._rows, np.frombuffer(random, np.uint8), self._salts).tobytes()
        data, ends, order, firsts, edges = by_salt(self._datums, self._rows, self._salts, np.frombuffer(tail, np.uint8))
        octets = data.tobytes()
        blocks = [octets[start:end] for start, end in pairwise(edges.tolist())]
        stretches = [slice(first, after) for first, after in pairwise(firsts.tolist())]
        all_ends, places = ends.tolist(), order.tolist()
        return Sorted(blocks, [all_ends[one] for one in stretches], [places[one] for one in stretches], made)


def read_json(body: bytes, bounds: Bounds, salts: int, *, is_lines: bool) -> EventRows | None:
    """Return the events of `{"events": [...]}`, or of lines; None if the body is not in this form as a whole."""
    buf = np.frombuffer(body, np.uint8)
    datums, rows, count, close, has_nobody = read_events(
        buf, is_lines, bounds.now_ms, bounds.earliest_ms, bounds.end_ms, salts
    )
    if count < 0:
        return None
    return EventRows(body, datums, rows[:count], salts, is_lines=is_lines, has_nobody=has_nobody, close=close)


def read_avro(
    blocks: Sequence[bytes], counts: Sequence[int], optional_texts: int, bounds: Bounds, salts: int
) -> EventRows | None:
    """Return the events of these unpacked blocks of a container; None if some are in no common form.

    Each event ends with so many optional texts, as OPTIONAL_TEXTS has them for each version.
    """
    # A bytearray, because that makes an array of the type that other readers return, for which kernels are compiled.
    buf = np.frombuffer(bytearray().join(blocks), np.uint8)
    ends = np.cumsum([len(block) for block in blocks], dtype=np.int64)
    rows, count, has_nobody = read_datums(
        buf, ends, np.array(counts, np.int64), optional_texts, bounds.earliest_ms, bounds.end_ms, salts
    )
    if count < 0:
        return None
    return EventRows(b"", buf, rows[:count], salts, is_lines=False, has_nobody=has_nobody)


def warm_up() -> None:
    """Call each kernel once with the types that it meets, so that it is compiled or loaded."""
    body = b'{"events":[{"video_id":"A"},{"video_id":1}]}'
    bounds = Bounds(TIME_MIN_MS, TIME_MIN_MS, TIME_MIN_MS + 1)
    for is_lines in (False, True):
        read = read_json(body, bounds, 1, is_lines=is_lines)
        if read is not None:
            read.sorted(b"", bytes(ID_BYTES * read.ids_missing()))
    read_avro([body], [1], OPTIONAL_TEXTS_1, bounds, 1)


if __name__ == "__main__":
    warm_up()
