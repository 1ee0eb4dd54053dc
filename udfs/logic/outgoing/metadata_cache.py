"""Keeps the metadata of videos by video_id: up to a budget in memory, the rest in an SQLite file.

Its topic has all of it too, so only this process needs the file: it has no name, is never synced, and disappears when
the process ends.
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

# What the objects of an entry take beside its bytes.
_ENTRY_BYTES = 250
# SQLite takes up to 32,766 parameters in a statement.
_NAMES_AT_ONCE = 5000
_CACHE_KIB = 2048


class Entry(NamedTuple):
    """The tail of a video's messages (count_messages.py), and a version, which no other metadata has had."""

    tail: bytes
    version: int


class MetadataCache:
    """The metadata of videos. Without a budget all of it is in memory.

    Not thread-safe: calls may come from different threads, but only one after another.
    """

    def __init__(self, most_bytes: int | None = None, folder: str = "") -> None:
        self._most_bytes = most_bytes
        self._folder = folder
        self._known: dict[bytes, Entry] = {}
        self.held_bytes = 0
        self._file: sqlite3.Connection | None = None
        self._has_no_room = False

    @property
    def is_in_file(self) -> bool:
        """Whether some of it is in the file."""
        return self._file is not None

    @property
    def spilled_bytes(self) -> int:
        """The bytes of the file."""
        if self._file is None:
            return 0
        return sum(
            self._file.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").fetchone()
        )

    def put(self, name: bytes, known: Entry) -> None:
        """Set the metadata of a video."""
        before = self._known.pop(name, None)
        if before is not None:
            self.held_bytes -= _octets(name, before)
        octets = _octets(name, known)
        if self._is_beyond(octets) and self._put_in_file(name, known):
            return
        # The file may still have an older entry. Memory is looked up first, so nobody reads that entry.
        self._known[name] = known
        self.held_bytes += octets

    def forget(self, name: bytes) -> None:
        """Remove the metadata of a video."""
        before = self._known.pop(name, None)
        if before is not None:
            self.held_bytes -= _octets(name, before)
        # Remove it there as well: the file may have an older entry of what is in memory.
        if self._file is not None:
            self._file.execute("DELETE FROM known WHERE name = ?", (name,))

    def get(self, name: bytes) -> Entry | None:
        """Return the metadata of a video, or None if there is none."""
        return self._known.get(name) or self._in_file([name]).get(name)

    def get_all(self, names: Sequence[bytes], otherwise: Entry) -> list[Entry]:
        """Return the metadata of each video, in their order, and `otherwise` for a video without any."""
        known = self._known
        if self._file is None:
            return [known.get(name, otherwise) for name in names]
        found = self._in_file([name for name in dict.fromkeys(names) if name not in known])
        return [known.get(name) or found.get(name, otherwise) for name in names]

    def _is_beyond(self, more: int) -> bool:
        return self._most_bytes is not None and self.held_bytes + more > self._most_bytes

    def _in_file(self, names: list[bytes]) -> dict[bytes, Entry]:
        found: dict[bytes, Entry] = {}
        if self._file is not None:
            rest = iter(names)
            while some := list(islice(rest, _NAMES_AT_ONCE)):
                places = ",".join("?" * len(some))
                rows = self._file.execute(f"SELECT name, tail, version FROM known WHERE name IN ({places})", some)
                found.update((name, Entry(tail, version)) for name, tail, version in rows)
        return found

    def _put_in_file(self, name: bytes, known: Entry) -> bool:
        """Write it to the file. Return False when there is no room."""
        try:
            if self._file is None:
                self._file = _made(self._folder)
            self._file.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", (name, *known))
        except (OSError, sqlite3.OperationalError) as error:
            if not self._has_no_room:
                log.warning(
                    "no room for video metadata in %s (%s): it stays in memory and exceeds its budget of %d bytes; "
                    "make room in this folder, or set VIEW_COUNTS_JOB_SPILL_FOLDER to a folder that has room",
                    self._folder, error, self._most_bytes,
                )  # fmt: skip
            self._has_no_room = True
            return False
        self._has_no_room = False
        return True


def _octets(name: bytes, known: Entry) -> int:
    return _ENTRY_BYTES + len(name) + len(known.tail)


def _made(folder: str) -> sqlite3.Connection:
    handle, path = tempfile.mkstemp(dir=folder)
    os.close(handle)
    try:
        file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Only this process reads the file, and nobody after a crash. The journal in memory undoes a statement that
        # found no room.
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
