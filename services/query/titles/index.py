"""An index of videos by id and by the words of their titles: SQLite with FTS5 in a temporary file.

A second file has the channel of each video, so that nobody who asks for it waits for a search. The files are the
process's own, without a name, and go with it. Of each, CACHE_KIB are in memory. Calls may come from any thread; one of
them runs at a time, and `channel_of` runs beside searches. Knows no Kafka and no HTTP.
"""

import sqlite3
import threading
from collections.abc import Sequence
from typing import NamedTuple

CACHE_KIB = 4096
# Without a bound, to SQLite.
_PAGES_ANY = (1 << 30) - 1
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
_CHANNELS_SCHEMA = "CREATE TABLE channels (video_id TEXT PRIMARY KEY, channel_id TEXT NOT NULL) WITHOUT ROWID"
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
        self._db = _opened(_SCHEMA)
        # Whoever holds both locks has taken the other one first. This one is held for a moment only.
        self._channels_lock = threading.Lock()
        self._channels = _opened(_CHANNELS_SCHEMA)
        self._pages_max = max(16, bytes_max // PAGE_BYTES)
        self.videos = 0

    def close(self) -> None:
        """Forget everything."""
        with self._lock, self._channels_lock:
            self._db.close()
            self._channels.close()

    def put(self, changes: Sequence[tuple[str, Video | None]]) -> None:
        """Take over what is known of videos, in order; None is nothing. Raises IndexFullError, with nothing taken.

        If nothing is known of all of them any more, the bound does not matter: what is no longer so must go. That adds
        no more than the titles which the index has, since each of them is forgotten once.
        """
        may_grow = all(video is None for _, video in changes)
        with self._lock:
            videos = self.videos
            # Where forgetting has gone beyond the bound, what fits into the places that are free is still taken.
            pages_max = _PAGES_ANY if may_grow else max(self._pages_max, self._pages())
            try:
                self._db.execute(f"PRAGMA max_page_count={pages_max}")
                self._db.execute("BEGIN")
                for video_id, video in changes:
                    self._put(video_id, video)
                with self._channels_lock:
                    self._put_channels(changes, pages_max)
            except BaseException as error:
                self.videos = videos
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                    raise IndexFullError from error
                raise

    def _pages(self) -> int:
        return sum(db.execute("PRAGMA page_count").fetchone()[0] for db in (self._db, self._channels))

    def _check_pages(self, pages_max: int) -> None:
        if self._pages() > pages_max:
            raise IndexFullError

    def _put_channels(self, changes: Sequence[tuple[str, Video | None]], pages_max: int) -> None:
        """Take over the channels, and end both transactions."""
        try:
            self._channels.execute("BEGIN")
            for video_id, video in changes:
                if video is None:
                    self._channels.execute("DELETE FROM channels WHERE video_id = ?", (video_id,))
                else:
                    row = (video_id, video.channel_id)
                    self._channels.execute("INSERT OR REPLACE INTO channels (video_id, channel_id) VALUES (?, ?)", row)
            self._check_pages(pages_max)
            self._db.execute("COMMIT")
            self._channels.execute("COMMIT")
        except BaseException:
            if self._channels.in_transaction:
                self._channels.execute("ROLLBACK")
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

    def channel_of(self, video_id: str) -> str | None:
        """The channel of a video; None if nothing is known of the video. Waits for no search."""
        with self._channels_lock:
            found = self._channels.execute("SELECT channel_id FROM channels WHERE video_id = ?", (video_id,)).fetchone()
        return None if found is None else str(found[0])

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


def _opened(schema: str) -> sqlite3.Connection:
    # An empty name is a temporary file, which SQLite deletes at once.
    db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    db.executescript(f"PRAGMA page_size={PAGE_BYTES}; PRAGMA cache_size=-{CACHE_KIB}; PRAGMA synchronous=OFF")
    db.executescript(schema)
    return db


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
