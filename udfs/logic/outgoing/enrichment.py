"""Joins video metadata to counts: it makes the messages, and finds the partitions of tables that need the metadata.

A partition is (video, kind, day). To title a partition is to write the metadata of its video to it. The same may be
written twice, which changes nothing.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from settings.durations import MINUTES_PER_DAY
from udfs.logic.kernels.id_index import IdIndex
from udfs.logic.minutes.cells import unpack_dated_rows
from udfs.logic.outgoing.count_messages import NOTHING_KNOWN, about_tail, encode_counts, insert_new
from udfs.logic.outgoing.metadata_cache import Entry, MetadataCache

_UNKNOWN = Entry(NOTHING_KNOWN, 0)
# A stored partition begins with the length of its kind and the day.
_PARTITION = struct.Struct("<Bi")
# Tables keep minutes for so many days; older partitions do not exist any more.
UNTITLED_DAYS = 8
# So many videos are looked up at once in a file. It takes about 20 ms.
LOOKS_AT_ONCE = 5000


class Partition(NamedTuple):
    """A partition of views_by_minute; names are UTF-8, the day is in days since 1970."""

    video_id: bytes
    kind: bytes
    day: int


class Enriched(NamedTuple):
    """Messages for the view-counts topic, as (value, key), and partitions.

    `titled` are partitions to title, with the metadata; `untitled` are those of videos without metadata. Both leave out
    partitions that an earlier call has returned.
    """

    messages: list[tuple[bytes, bytes]]
    titled: list[tuple[Partition, bytes]]
    untitled: list[Partition]


class Enrichment:
    """The video metadata of one subtask. Not thread-safe.

    Half of the budget is for metadata; what exceeds it lies in a file. The other half is for the partitions that calls
    have returned. When it is used up, these are forgotten, and what was written for them is written again.
    """

    def __init__(self, most_bytes: int | None = None, folder: str = "") -> None:
        half = None if most_bytes is None else most_bytes // 2
        # Metadata is stored as the tail of messages.
        self._known = MetadataCache(half, folder)
        self._named_bytes_max = half
        self._learned = 0
        # The partitions of the newest day that were returned, each with the version of the metadata at that time.
        self._named = IdIndex()
        self._newest_day = -1

    def learn(self, video_id: str, about: bytes | None) -> None:
        """Set the metadata of a video; None removes it."""
        name = video_id.encode()
        if about is None:
            self._known.forget(name)
        elif self.about(name) != about:
            self._learned += 1
            self._known.put(name, Entry(about_tail(about), self._learned))

    def about(self, video_id: bytes) -> bytes | None:
        """Return the metadata of a video, or None if there is none."""
        known = self._known.get(video_id)
        return None if known is None else known.tail[1:]

    def abouts(self, video_ids: list[bytes]) -> dict[bytes, bytes]:
        """Return the metadata of those of the videos that have any."""
        known = zip(video_ids, self._known.get_all(video_ids, _UNKNOWN), strict=True)
        return {video_id: one.tail[1:] for video_id, one in known if one is not _UNKNOWN}

    @property
    def is_in_file(self) -> bool:
        """Whether some metadata is in a file, so that looking it up is slow."""
        return self._known.is_in_file

    @property
    def held_bytes(self) -> int:
        """About how many bytes it has in memory."""
        return self._known.held_bytes + self._named.table.nbytes

    @property
    def spilled_bytes(self) -> int:
        """Its bytes in a file."""
        return self._known.spilled_bytes

    def enrich(self, dated_rows: bytes) -> Enriched:
        """Return the messages of dated rows, and which of their partitions to title."""
        found = encode_counts(dated_rows)
        heads = found.heads
        videos = [heads[start:end] for start, end in zip(found.video_starts, found.video_ends, strict=True)]
        known = self._known.get_all(videos, _UNKNOWN)
        messages = [
            (heads[start:end] + tail, video)
            for start, end, (tail, _), video in zip(found.starts, found.ends, known, videos, strict=True)
        ]
        if found.newest_day > self._newest_day:
            # While both days still get counts, partitions of the day before may be returned once more.
            self._named, self._newest_day = IdIndex(), found.newest_day
        if self._named_bytes_max is not None and self._named.bytes_with(len(videos)) > self._named_bytes_max:
            self._named = IdIndex()
        versions = np.array([version for _, version in known], np.int64)
        self._named.reserve(len(videos))
        is_new, number = insert_new(self._named.table, found.partitions, versions)
        self._named.used += number
        titled, untitled = [], []
        if number:
            cells = unpack_dated_rows(dated_rows)
            for row in np.nonzero(is_new)[0].tolist():
                cell = cells[row]
                partition = Partition(cell.video_id, cell.kind, cell.minute // MINUTES_PER_DAY)
                if known[row] is _UNKNOWN:
                    untitled.append(partition)
                else:
                    titled.append((partition, known[row].tail[1:]))
        return Enriched(messages, titled, untitled)


class Untitled:
    """The latest partitions of one shard that wait for the metadata of their videos."""

    def __init__(self, most: int) -> None:
        self._most = most
        # The videos are in the order in which they came. The first ones are dropped when there are too many.
        self._by_video: dict[bytes, list[tuple[bytes, int]]] = {}
        self._number = 0
        self._looked_at = 0
        self._changed: set[bytes] = set()

    def __len__(self) -> int:
        return self._number

    def restore(self, stored: Iterable[tuple[str, bytes]]) -> None:
        """Take over the state that was stored: (video_id, bytes)."""
        for video_id, packed in stored:
            self._put(video_id.encode(), _unpack(packed))
        self._changed.clear()

    def add(self, partitions: Iterable[Partition]) -> None:
        """Remember these. Drop partitions that the tables no longer hold, and the oldest if there are too many."""
        for video_id, kind, day in partitions:
            mine = [one for one in self._by_video.get(video_id, ()) if one[1] > day - UNTITLED_DAYS]
            if (kind, day) not in mine:
                self._put(video_id, [*mine, (kind, day)])
        while self._number > self._most:
            self._put(next(iter(self._by_video)), [])

    def take_known(self, enrichment: Enrichment, videos_max: int | None = None) -> list[tuple[Partition, bytes]]:
        """Return, and forget, the partitions whose videos now have metadata, with it, for at most `videos_max` videos.

        If metadata is in a file, each call looks up some of the videos, and calls take turns through all of them.
        """
        videos = list(self._by_video)
        if enrichment.is_in_file:
            start = self._looked_at if self._looked_at < len(videos) else 0
            videos = videos[start : start + LOOKS_AT_ONCE]
            self._looked_at = start + LOOKS_AT_ONCE
        found = []
        for video_id, about in islice(enrichment.abouts(videos).items(), videos_max):
            found += [(Partition(video_id, kind, day), about) for kind, day in self._by_video[video_id]]
            self._put(video_id, [])
        return found

    def take_changed(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield what has changed since the last call: (video_id, bytes to store, or None to remove them)."""
        for video_id in self._changed:
            mine = self._by_video.get(video_id)
            yield video_id.decode(), None if mine is None else _pack(mine)
        self._changed.clear()

    def _put(self, video_id: bytes, partitions: list[tuple[bytes, int]]) -> None:
        self._number += len(partitions) - len(self._by_video.get(video_id, ()))
        if partitions:
            self._by_video[video_id] = partitions
        else:
            self._by_video.pop(video_id, None)
        self._changed.add(video_id)


def _pack(partitions: list[tuple[bytes, int]]) -> bytes:
    return b"".join(_PARTITION.pack(len(kind), day) + kind for kind, day in partitions)


def _unpack(packed: bytes) -> list[tuple[bytes, int]]:
    found = []
    at = 0
    while at < len(packed):
        length, day = _PARTITION.unpack_from(packed, at)
        at += _PARTITION.size
        found.append((packed[at : at + length], day))
        at += length
    return found
