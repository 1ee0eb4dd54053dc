"""One log: events in files that only grow, and how far they are settled. Knows no other process and no sending.

Files of a log NAME in its folder:

- `NAME-<number>.log`, a segment: a head with the version, then records. A process begins a new one and never goes on
  with another's, whose end may be torn.
- `NAME-<number>.clock`, beside a segment with times of the device: by how much those are to be set right. It is there
  before the first event of the segment is read, so that a resend after a crash has the same time.
- `NAME.done`: up to where all is settled. It has two places that are written in turn, each with a number and a CRC, so
  that one of them is always whole. If it is lost, events are sent again, which is harmless.
"""

import contextlib
import logging
import os
import re
import struct
import threading
import zlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from view_counts_client.events import Event
from view_counts_client.spool.records import Record, encoded, records

LOG = logging.getLogger("view_counts_client")
HEAD = b"VCS1\n"
HEAD_BYTES = len(HEAD)
SEGMENT_BYTES_MAX = 4 << 20
_DONE = struct.Struct(">QQQ")
_DONE_BYTES = 32
_CLOCK = re.compile(r"(-?[0-9]+) ([0-9]+)\n")
# Whoever may read them reads who viewed what.
_MODE = 0o600


class Fsync(StrEnum):
    """When events are forced to the disk. A killed process loses none in any case; a machine without power may.

    EACH: before `view` returns. INTERVAL: some time later, as is set. NEVER: when the system wants to.
    """

    EACH = "each"
    INTERVAL = "interval"
    NEVER = "never"


class Position(NamedTuple):
    """A place in a log: the number of a segment, and the byte in it."""

    segment: int
    offset: int


class Part(NamedTuple):
    """Events that were read together, the bytes of their records, and where they end."""

    events: list[Event]
    size: int
    end: Position


class Log:
    """Appended to by any thread, and read by one."""

    def __init__(
        self,
        folder: Path,
        name: str,
        fsync: Fsync,
        *,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self._folder = folder
        self._name = name
        self._fsync = fsync
        self._segment_bytes_max = segment_bytes_max
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._is_dirty = False
        self._done_fd = os.open(folder / f"{name}.done", os.O_RDWR | os.O_CREAT, _MODE)
        self._done_count, self._done = self._read_done()
        # The numbers of all segments that there are, in order.
        self._known = self._found()
        # That of the segment that is written. It is made with its first event.
        self._number = max([self._done.segment, *self._known], default=0) + 1
        self._read = self._done
        self._chunk = b""
        self._chunk_at = Position(-1, 0)
        self._shift_ms = 0
        # Segments with times of the device, as long as nobody has set these right.
        self._by_device: set[int] = set()
        # Events that were not read, those that were and are not settled, and the bytes of both.
        self.unread = 0
        self.unsettled = 0
        self.bytes = 0
        self._remove()
        self._count_left()

    def append(self, events: Sequence[Event]) -> None:
        """Write events, all or none. Raises OSError."""
        data = b"".join([encoded(event) for event in events])
        with self._lock:
            if self._fd < 0:
                self._begin_segment()
            # Head and events in one: of a head that is there alone, the next event would not know.
            self._write(data if self._size else HEAD + data)
            if any(event.by_device for event in events):
                self._by_device.add(self._number)
            self.unread += len(events)
            self.bytes += len(data)
            self._is_dirty = self._fsync is not Fsync.EACH
            if self._size >= self._segment_bytes_max:
                self._end_segment()

    def read(self, events_max: int, bytes_max: int) -> Part:
        """The next events, with right times. Only another process reads them again, if they are not settled by then."""
        found: list[Event] = []
        size = 0
        while len(found) < events_max and size < bytes_max:
            record = self._next()
            if record is None:
                break
            event = record.event
            if event.by_device:
                event = event._replace(viewed_at_ms=event.viewed_at_ms + self._shift_ms, by_device=False)
            found.append(event)
            size += record.end - record.start
            self._read = Position(self._read.segment, record.end)
        with self._lock:
            self.unread -= len(found)
            self.unsettled += len(found)
            if not found and self.unread and self._is_at_end():
                # A disk that has lost them, or somebody else's hand.
                LOG.error("%d events of %s could not be read again, and are lost", self.unread, self._folder)
                self.unread = 0
        return Part(found, size, self._read)

    def settled(self, part: Part) -> None:
        """All events of the part are settled, and so are those before."""
        with self._lock:
            self.unsettled -= len(part.events)
            self.bytes -= part.size
            is_full = self._size > self._segment_bytes_max // 2
            if part.end == Position(self._number, self._size) and is_full:
                self._end_segment()
        self._done = part.end
        self._done_count += 1
        written = _DONE.pack(self._done_count, *self._done)
        written += zlib.crc32(written).to_bytes(4, "big")
        os.pwrite(self._done_fd, written, _DONE_BYTES * (self._done_count % 2))
        self._remove()

    def is_drained(self) -> bool:
        """Whether nothing is left to be read or settled."""
        return self.unread == 0 and self.unsettled == 0

    def correct(self, shift_ms: int) -> None:
        """Set right the times of the device where nobody has done so. Later events must have right ones."""
        with self._lock:
            numbers = sorted(self._by_device)
            self._by_device.clear()
        for number in numbers:
            if self._read_clock(number) is None:
                self._write_clock(number, shift_ms)

    def sync(self) -> None:
        """Force what was written to the disk. From any thread."""
        with self._lock:
            if not self._is_dirty or self._fd < 0:
                return
            self._is_dirty = False
            # Another thread may end the segment meanwhile, and appending does not wait for the disk.
            copied = os.dup(self._fd)
        try:
            os.fdatasync(copied)
        finally:
            os.close(copied)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            if self._fd >= 0:
                self._end_segment()
            if self.is_drained():
                # Also what is torn, of which nobody knows more.
                self._done = Position(self._number, 0)
            os.close(self._done_fd)
        self._remove()

    def abandon(self) -> None:
        """Close the files of a parent in its child, and write nothing."""
        for fd in (self._fd, self._done_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _is_at_end(self) -> bool:
        number, offset = self._read
        is_last = all(known <= number for known in self._known)
        return is_last and (number != self._number or offset >= self._size)

    def _begin_segment(self) -> None:
        path = self._segment(self._number)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, _MODE)
        self._size = 0
        self._known.append(self._number)
        self._sync_folder()

    def _end_segment(self) -> None:
        if self._fsync is not Fsync.NEVER:
            os.fdatasync(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._size = 0
        self._is_dirty = False
        self._number += 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            if self._fsync is Fsync.EACH:
                os.fdatasync(self._fd)
        except OSError:
            # The caller hears that the event was not taken. Half a record would also hide those after it for a while.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _next(self) -> Record | None:
        while True:
            end = self._end_of(self._read.segment)
            record = self._in_chunk(end) if self._read.offset < end else None
            if record is not None:
                return record
            # What is left of the segment, if anything, is torn.
            self._read = Position(self._read.segment, max(self._read.offset, end))
            following = self._after(self._read.segment)
            if following is None:
                return None
            self._read = Position(following, HEAD_BYTES)

    def _in_chunk(self, end: int) -> Record | None:
        """The next record of the segment that is read, of which so many bytes are whole."""
        segment, offset = self._read
        if not (self._chunk_at.segment == segment and self._chunk_at.offset <= offset):
            self._load(end)
        while True:
            at = self._chunk_at.offset
            record = next(records(self._chunk, offset - at), None)
            if record is not None:
                return Record(record.event, record.start + at, record.end + at)
            if at + len(self._chunk) >= end:
                return None
            self._load(end)

    def _load(self, end: int) -> None:
        segment, offset = self._read
        if segment != self._chunk_at.segment:
            self._shift_ms = self._read_clock(segment) or 0
        fd = os.open(self._segment(segment), os.O_RDONLY)
        try:
            self._chunk = os.pread(fd, end - offset, offset)
        finally:
            os.close(fd)
        self._chunk_at = self._read

    def _end_of(self, number: int) -> int:
        """How much of a segment may be read. What another thread is writing is not."""
        with self._lock:
            if number == self._number:
                return self._size
        try:
            return self._segment(number).stat().st_size
        except FileNotFoundError:
            return 0

    def _after(self, number: int) -> int | None:
        """The segment that follows; None if there is none yet."""
        with self._lock:
            return min((known for known in self._known if known > number), default=None)

    def _count_left(self) -> None:
        for number in self._known:
            start = max(self._done.offset, HEAD_BYTES) if number == self._done.segment else HEAD_BYTES
            for record in records(self._segment(number).read_bytes(), start):
                self.unread += 1
                self.bytes += record.end - record.start
                if record.event.by_device:
                    self._by_device.add(number)

    def _remove(self) -> None:
        """Remove segments of which all is settled."""
        done = self._done
        with self._lock:
            ended = [known for known in self._known if known < self._number]
        for number in ended:
            if number < done.segment or (number == done.segment and done.offset >= self._end_of(number)):
                self._segment(number).unlink(missing_ok=True)
                self._clock(number).unlink(missing_ok=True)
                with self._lock:
                    self._known.remove(number)

    def _found(self) -> list[int]:
        found = [path.stem.removeprefix(f"{self._name}-") for path in self._folder.glob(f"{self._name}-*.log")]
        return sorted(int(text) for text in found if text.isdecimal())

    def _segment(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:012}.log"

    def _clock(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:012}.clock"

    def _read_clock(self, number: int) -> int | None:
        """By how much the times of a segment are to be set right; None if that is not known."""
        try:
            found = _CLOCK.fullmatch(self._clock(number).read_text(encoding="ascii", errors="replace"))
        except FileNotFoundError:
            return None
        return int(found[1]) if found is not None and zlib.crc32(found[1].encode()) == int(found[2]) else None

    def _write_clock(self, number: int, shift_ms: int) -> None:
        text = str(shift_ms)
        new = self._folder / f"{self._name}.clock-new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        try:
            os.write(fd, f"{text} {zlib.crc32(text.encode())}\n".encode())
            if self._fsync is not Fsync.NEVER:
                os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(self._clock(number))
        self._sync_folder()

    def _sync_folder(self) -> None:
        if self._fsync is Fsync.NEVER:
            return
        fd = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _read_done(self) -> tuple[int, Position]:
        """(how often it was written, the position of the newer place that is whole)."""
        found = (0, Position(0, 0))
        for place in range(2):
            data = os.pread(self._done_fd, _DONE_BYTES, _DONE_BYTES * place)[: _DONE.size + 4]
            if len(data) < _DONE.size + 4 or zlib.crc32(data[: _DONE.size]).to_bytes(4, "big") != data[_DONE.size :]:
                continue
            count, segment, offset = _DONE.unpack_from(data)
            found = max(found, (count, Position(segment, offset)))
        return found
