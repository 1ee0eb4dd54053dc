"""Finds suspects, viewers with marked views, and their viewer_ids, so that they can be blocked.

History has only hashes of viewers. Their viewer_ids are in the archive, in the events of the slices that have the hash.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from settings import KafkaSettings
from tools import block_list
from udfs.logic.erasure.viewer_ids import viewer_ids
from udfs.logic.history.manifest import HOURS_PER_DAY, Manifest, SliceInfo, date_of, day_number
from udfs.logic.kernels.hash_columns import TYPE
from udfs.logic.kernels.shards import shard_of
from udfs.logic.stream.block_list import FOR_GOOD_MS
from udfs.stores.archive import Archive
from udfs.stores.history_store import HistoryStore


class Suspect(NamedTuple):
    """A viewer's views of one video and kind on one day. `viewer` is a hash. `marked` of the views are marked."""

    day: date
    viewer: bytes
    kind: str
    video_id: str
    views: int
    marked: int


def suspects(history: HistoryStore, manifest: Manifest, day: date | None = None) -> list[Suspect]:
    """A Suspect for each viewer, video, kind and day with marked views, of one day or of all days.

    They are ordered by day, and then by marked views with the most first.
    """
    found = []
    for at, paths in manifest.files["suspects"].items():
        if day in (None, date_of(at)):
            for path in paths.values():
                rows = history.get(path).to_pylist()
                found += [Suspect(day=date_of(at), **row) for row in rows]
    return sorted(found, key=lambda one: (one.day, -one.marked, one.viewer, one.video_id, one.kind))


def with_marked_of(found: Iterable[Suspect], least: int) -> list[Suspect]:
    """The rows of viewers who have at least `least` marked views, in all their videos and days together."""
    found = list(found)
    marked: dict[bytes, int] = {}
    for one in found:
        marked[one.viewer] = marked.get(one.viewer, 0) + one.marked
    return [one for one in found if marked[one.viewer] >= least]


def names(
    history: HistoryStore, archive: Archive, manifest: Manifest, found: Sequence[Suspect], salts: int
) -> dict[bytes, str]:
    """The viewer_ids of these suspects, by hash. A viewer is left out if their events have left the archive."""
    ids: dict[bytes, str] = {}
    wanted: dict[int, set[Suspect]] = {}
    for one in found:
        wanted.setdefault(day_number(one.day), set()).add(one)
    for day, of_day in wanted.items():
        hours = range(day * HOURS_PER_DAY, (day + 1) * HOURS_PER_DAY)
        for name in sorted({name for hour in hours for name in manifest.slices.get(hour, [])}):
            left = {one for one in of_day if one.viewer not in ids}
            info = history.slice_info(name) if left else None
            if info is None:
                continue
            sought = _seen_in(history, info, hours, left, manifest.shards)
            for file in archive.files([info.hour], info.partition) if sought else []:
                for record in archive.read(file):
                    if not sought:
                        break
                    ids |= (known := viewer_ids(record.key, record.value, salts, sought))
                    sought -= known.keys()
    return ids


def _seen_in(history: HistoryStore, info: SliceInfo, hours: range, those: Iterable[Suspect], shards: int) -> set[bytes]:
    """Which of these suspects have views of these hours in a slice."""
    by_shard: dict[int, set[bytes]] = {}
    for one in those:
        by_shard.setdefault(shard_of(one.video_id, shards), set()).add(one.viewer)
    found: set[bytes] = set()
    for shard, viewers in by_shard.items():
        table = history.viewers(info, shard, hours)
        if table is not None:
            sought = pa.array(sorted(viewers), TYPE)
            found.update(pc.unique(table["viewer"].filter(pc.is_in(table["viewer"], sought))).to_pylist())
    return found


def not_blocked(kafka: KafkaSettings, viewers: Iterable[str]) -> list[str]:
    """The viewers among these who are not blocked for good. Raises confluent_kafka.KafkaException."""
    known = block_list.periods(kafka)
    return sorted(
        viewer for viewer in viewers if all(period.until_ms != FOR_GOOD_MS for period in known.get(viewer, []))
    )
