"""What is known of each video, by its name: in memory up to a budget, the rest in a file of SQLite's.

All of it is in its topic too, so that the file is nobody's but this process's: it has no name, is never synced, and
ends with the process.
"""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

# Of the objects that an entry is made of, beside its bytes.
_ENTRY_BYTES = 250
# SQLite takes up to 32,766 parameters in a statement.
_NAMES_AT_ONCE = 5000
_CACHE_KIB = 2048


class Known(NamedTuple):
    """What ends a video's messages (count_messages.py), and a number that no other knowledge has had."""

    tail: bytes
    version: int


class KnownVideos:
    """Not thread-safe, though its calls may come from one thread after another. Without a budget all is in memory."""

    def __init__(self, most_bytes: int | None = None, folder: str = "") -> None:
        self._most_bytes = most_bytes
        self._folder = folder
        self._known: dict[bytes, Known] = {}
        self.held_bytes = 0
        self._file: sqlite3.Connection | None = None
        self._has_no_room = False

    @property
    def is_in_file(self) -> bool:
        """Whether some of it is."""
        return self._file is not None

    @property
    def spilled_bytes(self) -> int:
        """In the file."""
        if self._file is None:
            return 0
        return sum(
            self._file.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").fetchone()
        )

    def put(self, name: bytes, known: Known) -> None:
        """From now on this is known of the video."""
        before = self._known.pop(name, None)
        if before is not None:
            self.held_bytes -= _octets(name, before)
        octets = _octets(name, known)
        if self._is_beyond(octets) and self._put_in_file(name, known):
            return
        # An older word of it that may be in the file is not asked for.
        self._known[name] = known
        self.held_bytes += octets

    def forget(self, name: bytes) -> None:
        """Nothing is known of the video."""
        before = self._known.pop(name, None)
        if before is not None:
            self.held_bytes -= _octets(name, before)
        # Both: an older word of what is in memory may be there.
        if self._file is not None:
            self._file.execute("DELETE FROM known WHERE name = ?", (name,))

    def get(self, name: bytes) -> Known | None:
        """What is known of one."""
        return self._known.get(name) or self._in_file([name]).get(name)

    def get_all(self, names: Sequence[bytes], otherwise: Known) -> list[Known]:
        """What is known of each, in their order."""
        known = self._known
        if self._file is None:
            return [known.get(name, otherwise) for name in names]
        found = self._in_file([name for name in dict.fromkeys(names) if name not in known])
        return [known.get(name) or found.get(name, otherwise) for name in names]

    def _is_beyond(self, more: int) -> bool:
        return self._most_bytes is not None and self.held_bytes + more > self._most_bytes

    def _in_file(self, names: list[bytes]) -> dict[bytes, Known]:
        found: dict[bytes, Known] = {}
        if self._file is not None:
            rest = iter(names)
            while some := list(islice(rest, _NAMES_AT_ONCE)):
                places = ",".join("?" * len(some))
                rows = self._file.execute(f"SELECT name, tail, version FROM known WHERE name IN ({places})", some)
                found.update((name, Known(tail, version)) for name, tail, version in rows)
        return found

    def _put_in_file(self, name: bytes, known: Known) -> bool:
        """False when there is no room for it."""
        try:
            if self._file is None:
                self._file = _made(self._folder)
            self._file.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", (name, *known))
        except (OSError, sqlite3.OperationalError) as error:
            if not self._has_no_room:
                log.warning(
                    "no room for what is known of videos in %s (%s): it stays in memory, beyond its budget of %d "
                    "bytes; make room there, or set VIEW_COUNTS_JOB_SPILL_FOLDER to a folder that has it",
                    self._folder, error, self._most_bytes,
                )  # fmt: skip
            self._has_no_room = True
            return False
        self._has_no_room = False
        return True


def _octets(name: bytes, known: Known) -> int:
    return _ENTRY_BYTES + len(name) + len(known.tail)


def _made(folder: str) -> sqlite3.Connection:
    handle, path = tempfile.mkstemp(dir=folder)
    os.close(handle)
    try:
        file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # It is read by nobody after a crash, and by nobody else before. A journal in memory undoes what found no room.
        for pragma in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = MEMORY",
            "synchronous = OFF",
            f"cache_size = -{_CACHE_KIB}",
        ):
            file.execute(f"PRAGMA {pragma}")
        file.execute("CREATE TABLE known (name BLOB PRIMARY KEY, tail BLOB, version INTEGER) WITHOUT ROWID")
    finally:
        Path(path).unlink()
    return file
