"""A file of events, one in JSON a line, as the sender's source. How far it was sent stands in a file beside it.

Lines without an id get one that is made of the run and the line's place. The run has a random name, which is on disk
before the first line is sent. So whoever goes on after a crash sends the same events again, and each counts once.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from view_counts_client.clock import Clock
from view_counts_client.events import Event, own_id, own_time_ms
from view_counts_client.ids import TAIL_BYTES, TIME_BYTES
from view_counts_client.retry import AgainWait, Backoff
from view_counts_client.source import Batch

# So much of the file's beginning tells it from another one.
_HEAD_BYTES = 1 << 16
# A longer line is no event.
LINE_BYTES_MAX = 1 << 16


class FileError(Exception):
    """The file, or the one that says how far it was sent, cannot be used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How far a file was sent: all before `offset` is settled, which are so many lines.

    `at_ms` is the time of events without one. `head` is a digest of the first `head_bytes` bytes.
    """

    run: str
    at_ms: int
    offset: int
    lines: int
    head_bytes: int
    head: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no event."""

    line: int
    text: str
    reason: str


class FileSource:
    """The lines of one file. Close it afterwards."""

    def __init__(
        self, path: Path, clock: Clock, backoff: Backoff, events_max: int, bad: Callable[[BadLine], None]
    ) -> None:
        self._clock = clock
        self._events_max = events_max
        self._bad = bad
        self._beside = path.with_name(f"{path.name}.sent")
        self._file = path.open("rb")
        self._lock = os.open(self._beside, os.O_RDWR | os.O_CREAT, 0o600)
        self._again: list[Event] = []
        self._wait = AgainWait(backoff)
        # The line of each event of the batch in hand.
        self.lines: dict[bytes | str, int] = {}
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.sent = self._read()
        except BlockingIOError:
            self.close()
            raise FileError(f"{self._beside} is in use: another process sends this file") from None
        except FileError:
            self.close()
            raise
        self._at, self._line = self.sent.offset, self.sent.lines
        self._size = os.fstat(self._file.fileno()).st_size

    def due_s(self, now_s: float, *, hurry: bool) -> float | None:  # noqa: ARG002 - a file is always in a hurry
        """See Source."""
        if self._again:
            return self._wait.due_s(now_s)
        return 0.0 if self._at < self._size else None

    def take(self, now_s: float) -> Batch:  # noqa: ARG002 - what is due is all that is left
        """See Source."""
        if self._again:
            events, self._again = self._again, []
            return Batch(events, True)
        self.lines.clear()
        events = []
        self._file.seek(self._at)
        while len(events) < self._events_max and self._at < self._size:
            at = self._at
            text = self._next()
            if not text.strip():
                continue
            try:
                event = self._event(text, at)
            except (ValueError, TypeError, RecursionError) as error:
                self._bad(BadLine(self._line, text[:LINE_BYTES_MAX].decode("utf-8", "replace").strip(), str(error)))
                continue
            events.append(event)
            self.lines[event.event_id] = self._line
        return Batch(events, None)

    def settled(self, batch: Batch, again: Sequence[Event], now_s: float, random: float) -> None:
        """See Source."""
        self._again = [*again]
        self._wait.settled(now_s, random, failed=bool(again), was_again=batch.origin is not None)
        if not again:
            self._write(replace(self.sent, offset=self._at, lines=self._line))

    def correct(self, shift_ms: int) -> None:
        """See Source. Now the time of events without one is known, if it was not before."""
        if not self._clock.is_known:
            self._clock.corrected_by(shift_ms)
        if not self.sent.at_ms:
            self._write(replace(self.sent, at_ms=self._clock.now_ms()))

    def waiting(self) -> int:
        """See Source. Lines are not counted before they are read."""
        return len(self._again)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        os.close(self._lock)

    def _next(self) -> bytes:
        """The next line. One that is too long is cut, and its rest is passed over."""
        found = rest = self._file.readline(LINE_BYTES_MAX + 1)
        self._at += len(rest)
        while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
            rest = self._file.readline(LINE_BYTES_MAX + 1)
            self._at += len(rest)
        if not found:
            # The file was cut meanwhile.
            self._at = self._size
        self._line += 1
        return found

    def _event(self, text: bytes, at: int) -> Event:
        if len(text) > LINE_BYTES_MAX:
            raise ValueError(f"the line has more than {LINE_BYTES_MAX} bytes")
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError("the line is no JSON object with the fields of an event")
        named, viewed_at = found.pop("event_id", None), _time(found.pop("viewed_at", None))
        if named is not None:
            event_id = own_id(_id(named))
            at_ms = own_time_ms(viewed_at, event_id)
        else:
            at_ms = self.sent.at_ms if viewed_at is None else own_time_ms(viewed_at, b"")
            event_id = self._made(at_ms, at)
        if not found:
            raise ValueError("video_id is missing: send 1 to 64 bytes of UTF-8")
        fields = json.dumps(found, ensure_ascii=False, separators=(",", ":"))[1:-1]
        return Event(event_id, at_ms, False, fields.encode())

    def _made(self, at_ms: int, at: int) -> bytes:
        """The id of the line at this place: a UUID of version 7, and the same whenever this run goes on."""
        tail = bytearray(hashlib.blake2b(f"{self.sent.run} {at}".encode(), digest_size=TAIL_BYTES).digest())
        tail[0] = 0x70 | tail[0] & 0x0F
        tail[2] = 0x80 | tail[2] & 0x3F
        return at_ms.to_bytes(TIME_BYTES, "big") + tail

    def _read(self) -> Sent:
        text = os.pread(self._lock, 1 << 16, 0)
        if not text:
            head = self._head(_HEAD_BYTES)
            return Sent(os.urandom(16).hex(), 0, 0, 0, len(head), hashlib.blake2b(head).hexdigest())
        try:
            sent = Sent(**json.loads(text))
        except (ValueError, TypeError):
            raise FileError(
                f"{self._beside} cannot be read: remove it to send the file from its beginning; events without ids "
                "then count again"
            ) from None
        if hashlib.blake2b(self._head(sent.head_bytes)).hexdigest() != sent.head:
            raise FileError(f"{self._beside} is of another file of this name: remove it to send this one")
        return sent

    def _head(self, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, 0)

    def _write(self, sent: Sent) -> None:
        """Note how far it was sent, in one step: the file is the old one or the new one, and keeps its lock."""
        self.sent = sent
        data = json.dumps(asdict(sent)).encode()
        # Always as long as the last one or longer, since numbers grow; a block of the file system is written as one.
        os.pwrite(self._lock, data.ljust(512), 0)
        os.fsync(self._lock)


def _id(named: Any) -> UUID | str:
    """A UUID in its usual form, or the text as it is."""
    if not isinstance(named, str):
        raise TypeError(f"event_id={named!r:.80} is no text: send a UUID, or another text")
    try:
        found = UUID(named)
    except ValueError:
        return named
    return found if str(found) == named.lower() else named


def _time(viewed_at: Any) -> datetime | int | None:
    if isinstance(viewed_at, str):
        return datetime.fromisoformat(viewed_at)
    if viewed_at is None or type(viewed_at) is int:
        return viewed_at
    raise TypeError(f"viewed_at={viewed_at!r:.80} is no time: send RFC 3339 with an offset, or ms since 1970")
