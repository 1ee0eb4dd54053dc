"""Viewers who viewed more than the rules allow: who they are, and onto the block list with them.

History knows a viewer by a hash alone. Whose it is, the archive tells: the events of the slices in which the hash is.
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
    """Views of one video on one day by one viewer; `marked` of them are beyond the rules."""

    day: date
    viewer: bytes
    kind: str
    video_id: str
    views: int
    marked: int


def suspects(history: HistoryStore, manifest: Manifest, day: date | None = None) -> list[Suspect]:
    """Those of one day, or of all days that are known, by day and with the most marked views first."""
    found = []
    for at, paths in manifest.files["suspects"].items():
        if day in (None, date_of(at)):
            for path in paths.values():
                rows = history.get(path).to_pylist()
                found += [Suspect(day=date_of(at), **row) for row in rows]
    return sorted(found, key=lambda one: (one.day, -one.marked, one.viewer, one.video_id, one.kind))


def with_marked_of(found: Iterable[Suspect], least: int) -> list[Suspect]:
    """Those of viewers who have so many marked views, all their videos and days together."""
    found = list(found)
    marked: dict[bytes, int] = {}
    for one in found:
        marked[one.viewer] = marked.get(one.viewer, 0) + one.marked
    return [one for one in found if marked[one.viewer] >= least]


def names(
    history: HistoryStore, archive: Archive, manifest: Manifest, found: Sequence[Suspect], salts: int
) -> dict[bytes, str]:
    """The viewer_ids of these by hash; not of one whose events have left the archive."""
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
    """Which of them have views of these hours in a slice."""
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
    """Those who are not on the block list for good. Raises confluent_kafka.KafkaException."""
    known = block_list.periods(kafka)
    return sorted(
        viewer for viewer in viewers if all(period.until_ms != FOR_GOOD_MS for period in known.get(viewer, []))
    )
