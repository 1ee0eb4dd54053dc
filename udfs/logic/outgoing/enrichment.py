"""What is known of videos, joined to counts: messages that carry it, and the partitions of tables that want it.

A partition is (video, kind, day). Everything here that is written may be written twice, and is the same then.
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
from udfs.logic.outgoing.known_videos import Known, KnownVideos

_UNKNOWN = Known(NOTHING_KNOWN, 0)
# Of a partition: the length of its kind, the day.
_PARTITION = struct.Struct("<Bi")
# As long as the tables keep minutes; a partition older than that is gone.
UNTITLED_DAYS = 8
# In a file: about 20 ms.
LOOKS_AT_ONCE = 5000


class Partition(NamedTuple):
    """Of views_by_minute; names in UTF-8, the day in days since 1970."""

    video_id: bytes
    kind: bytes
    day: int


class Enriched(NamedTuple):
    """Messages for the view-counts topic, as (value, key); partitions to title, with what is known, and untitled ones.

    Of the last two those that this memory has not named before.
    """

    messages: list[tuple[bytes, bytes]]
    titled: list[tuple[Partition, bytes]]
    untitled: list[Partition]


class Enrichment:
    """What is known, of one subtask. Not thread-safe.

    With a budget a half of it is for what is known, of which the rest lies in a file, and a half for what was named.
    When that is used up all is named anew, which writes again what is written.
    """

    def __init__(self, most_bytes: int | None = None, folder: str = "") -> None:
        half = None if most_bytes is None else most_bytes // 2
        # The tails hold the abouts.
        self._known = KnownVideos(half, folder)
        self._named_bytes_max = half
        self._learned = 0
        # Partitions of the newest day, with what was known of them when they were named last.
        self._named = IdIndex()
        self._newest_day = -1

    def learn(self, video_id: str, about: bytes | None) -> None:
        """From now on this is known of the video; None: nothing."""
        name = video_id.encode()
        if about is None:
            self._known.forget(name)
        elif self.about(name) != about:
            self._learned += 1
            self._known.put(name, Known(about_tail(about), self._learned))

    def about(self, video_id: bytes) -> bytes | None:
        """What is known of a video."""
        known = self._known.get(video_id)
        return None if known is None else known.tail[1:]

    def abouts(self, video_ids: list[bytes]) -> dict[bytes, bytes]:
        """What is known of those videos of which something is."""
        known = zip(video_ids, self._known.get_all(video_ids, _UNKNOWN), strict=True)
        return {video_id: one.tail[1:] for video_id, one in known if one is not _UNKNOWN}

    @property
    def is_in_file(self) -> bool:
        """Whether looking things up is slow."""
        return self._known.is_in_file

    @property
    def held_bytes(self) -> int:
        """In memory, about."""
        return self._known.held_bytes + self._named.table.nbytes

    @property
    def spilled_bytes(self) -> int:
        """In a file."""
        return self._known.spilled_bytes

    def enrich(self, dated_rows: bytes) -> Enriched:
        """The messages of dated rows, and what to write of their partitions."""
        found = encode_counts(dated_rows)
        heads = found.heads
        videos = [heads[start:end] for start, end in zip(found.video_starts, found.video_ends, strict=True)]
        known = self._known.get_all(videos, _UNKNOWN)
        messages = [
            (heads[start:end] + tail, video)
            for start, end, (tail, _), video in zip(found.starts, found.ends, known, videos, strict=True)
        ]
        if found.newest_day > self._newest_day:
            # The day before is named once more, in the minutes in which both go on.
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
    """Partitions of one shard of whose videos nothing was known, the latest of them, until something is."""

    def __init__(self, most: int) -> None:
        self._most = most
        # The videos in the order in which they came, so that the first ones make room.
        self._by_video: dict[bytes, list[tuple[bytes, int]]] = {}
        self._number = 0
        self._looked_at = 0
        self._changed: set[bytes] = set()

    def __len__(self) -> int:
        return self._number

    def restore(self, stored: Iterable[tuple[str, bytes]]) -> None:
        """Become what stored these."""
        for video_id, packed in stored:
            self._put(video_id.encode(), _unpack(packed))
        self._changed.clear()

    def add(self, partitions: Iterable[Partition]) -> None:
        """Remember these. Partitions that the tables no longer hold are forgotten, and those of the first videos."""
        for video_id, kind, day in partitions:
            mine = [one for one in self._by_video.get(video_id, ()) if one[1] > day - UNTITLED_DAYS]
            if (kind, day) not in mine:
                self._put(video_id, [*mine, (kind, day)])
        while self._number > self._most:
            self._put(next(iter(self._by_video)), [])

    def take_known(self, enrichment: Enrichment, videos_max: int | None = None) -> list[tuple[Partition, bytes]]:
        """Those of whose videos something is known now, with it, of so many videos; they are forgotten here.

        Where what is known is in a file, some videos are looked at in each call, all of them in turn.
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
        """What to store by video, None: to remove; since the last call."""
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
