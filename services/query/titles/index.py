"""An index of videos by id and by the words of their titles: SQLite with FTS5 in a temporary file.

The file is the process's own, without a name, and goes with it. Of it, CACHE_KIB are in memory. Calls may come from any
thread; one of them runs at a time. Knows no Kafka and no HTTP.
"""

import sqlite3
import threading
from collections.abc import Iterable
from typing import NamedTuple

CACHE_KIB = 4096
PAGE_BYTES = 4096
_LAST = "\U0010ffff"
_SCHEMA = """
CREATE TABLE videos (
    id INTEGER PRIMARY KEY, video_id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, channel_id TEXT NOT NULL,
    channel_name TEXT NOT NULL, created_ms INTEGER NOT NULL
);
CREATE VIRTUAL TABLE titles USING fts5(
    title, content='videos', content_rowid='id', tokenize="unicode61 remove_diacritics 2", prefix='1 2 3'
);
"""
_COLUMNS = "video_id, title, channel_id, channel_name, created_ms"


class Video(NamedTuple):
    """A video and its metadata. `created_ms` is since 1970."""

    video_id: str
    title: str
    channel_id: str
    channel_name: str
    created_ms: int


class IndexFullError(RuntimeError):
    """The index has as many bytes as it may."""


class TitleIndex:
    """The index. `videos` is how many it has."""

    def __init__(self, bytes_max: int) -> None:
        self._lock = threading.Lock()
        # An empty name is a temporary file, which SQLite deletes at once.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript(f"PRAGMA page_size={PAGE_BYTES}; PRAGMA cache_size=-{CACHE_KIB}; PRAGMA synchronous=OFF")
        self._db.execute(f"PRAGMA max_page_count={max(16, bytes_max // PAGE_BYTES)}")
        self._db.executescript(_SCHEMA)
        self.videos = 0

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._db.close()

    def put(self, changes: Iterable[tuple[str, Video | None]]) -> None:
        """Take over what is known of videos, in order; None is nothing. Raises IndexFullError, with nothing taken."""
        with self._lock:
            before = self.videos
            self._db.execute("BEGIN")
            try:
                for video_id, video in changes:
                    self._put(video_id, video)
                self._db.execute("COMMIT")
            except BaseException as error:
                self.videos = before
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                    raise IndexFullError from error
                raise

    def _put(self, video_id: str, video: Video | None) -> None:
        old = self._db.execute("SELECT id, title FROM videos WHERE video_id = ?", (video_id,)).fetchone()
        if old is not None:
            # An index apart from its content must be told what it held.
            self._db.execute("INSERT INTO titles (titles, rowid, title) VALUES ('delete', ?, ?)", old)
            self._db.execute("DELETE FROM videos WHERE id = ?", old[:1])
        if video is not None:
            # The same place, so that answers keep their order.
            row = None if old is None else old[0], *video
            at = self._db.execute(f"INSERT INTO videos (id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row).lastrowid
            self._db.execute("INSERT INTO titles (rowid, title) VALUES (?, ?)", (at, video.title))
        self.videos += (video is not None) - (old is not None)

    def get(self, video_id: str) -> Video | None:
        """What is known of a video."""
        with self._lock:
            found = self._db.execute(f"SELECT {_COLUMNS} FROM videos WHERE video_id = ?", (video_id,)).fetchone()
        return None if found is None else Video(*found)

    def find(self, text: str, limit: int) -> list[Video]:
        """Videos whose id begins with `text`, then those whose title does, then those with its words in the title.

        Of a title's words, the last one may be cut off. Case and accents of titles do not matter.
        """
        found: dict[str, Video] = {}
        with self._lock:
            for statement, values in _questions(text, limit):
                for row in self._db.execute(statement, values):
                    found.setdefault(row[0], Video(*row))
                if len(found) >= limit:
                    break
        return list(found.values())[:limit]


def _questions(text: str, limit: int) -> list[tuple[str, tuple[str | int, ...]]]:
    by_id = (
        f"SELECT {_COLUMNS} FROM videos WHERE video_id >= ? AND video_id < ? ORDER BY video_id LIMIT ?",
        (text, text + _LAST, limit),
    )
    words = title_words(text)
    if not words:
        return [by_id]
    # Of places, since the order by rank would look at each title that has the words.
    of_titles = (
        f"SELECT {_COLUMNS} FROM videos WHERE id IN "
        "(SELECT rowid FROM titles WHERE titles MATCH ? ORDER BY rowid LIMIT ?) ORDER BY id"
    )
    beginning, anywhere = f"^ {' + '.join(words)} *", f"{' '.join(words)} *"
    # What a question before has found is skipped by whoever puts them together.
    return [by_id, (of_titles, (beginning, 2 * limit)), (of_titles, (anywhere, 3 * limit))]


def title_words(text: str) -> list[str]:
    """The words of a text as phrases of FTS5: in double quotes, in which nothing has a meaning of its own.

    What has neither a letter nor a digit is left out: to FTS5 it would be an empty phrase.
    """
    words = [word for word in text.replace("\0", " ").split() if any(map(str.isalnum, word))]
    return ['"' + word.replace('"', '""') + '"' for word in words]
