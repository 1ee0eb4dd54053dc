"""Flink shells of the rollup, in batch mode: slices by partition, then tables by shard, then the manifest.

Elements say what is to be done and what came of it, in JSON; what is counted goes from one stage to the next through
the object store. Whatever is written can be written again: a failed task begins anew. The store's credentials are those
of the worker's own environment and travel in no job.
"""

import logging
import time
from collections.abc import Iterator, Sequence

import msgspec
from pyflink.common import Row
from pyflink.datastream import FlatMapFunction, KeyedProcessFunction, RuntimeContext

from settings import Settings
from settings.durations import HOUR_MS
from udfs.logic.block_list import BlockList, read_blocked
from udfs.logic.dedup import SaltDedup
from udfs.logic.erasure import Eraser
from udfs.logic.history import (
    Manifest,
    PartitionTask,
    Plan,
    ShardResult,
    SliceInfo,
    SliceName,
    days_to_mark_again,
    plan_of,
    published,
    rules_of,
)
from udfs.logic.metadata import read_about, read_metadata
from udfs.logic.slice_counts import Known, SliceCounter, dedups_of
from udfs.sinks.erasure_list import ErasureList
from udfs.sinks.history_rows import HistoryRows
from udfs.sinks.history_store import HistoryStore
from udfs.sinks.shard_tables import ShardTables
from udfs.sinks.shared_tables import SharedTables
from udfs.sources.archive import Archive, filesystem
from udfs.sources.compacted import CompactedTopic
from udfs.sources.slice_records import PartitionSlices, SliceRecords

log = logging.getLogger(__name__)


class CountSlices(FlatMapFunction):
    """A PartitionTask in JSON in, for each shard Row(its key, the SliceInfos of its slices in JSON) out."""

    def __init__(self, settings: Settings, before: bytes, shard_keys: Sequence[int]) -> None:
        self._settings = settings
        self._before = before
        self._shard_keys = shard_keys

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Read the block list."""
        settings = self._settings
        store = filesystem(Settings().s3)
        self._history = HistoryStore(store, settings.history.path)
        self._archive = Archive(store, settings.archive.path)
        self._manifest = msgspec.json.decode(self._before, type=Manifest)
        self._blocks = BlockList()
        CompactedTopic(settings.kafka.bootstrap_servers, settings.kafka.blocked_topic, read_blocked).read_however_long(
            lambda viewer_id, periods: self._blocks.put(viewer_id.encode(), periods)
        )

    def flat_map(self, value: str) -> Iterator[Row]:
        """Count a partition's slices."""
        task = msgspec.json.decode(value, type=PartitionTask)
        told = msgspec.json.encode(self._count_all(task) if task.hours else [])
        for key in self._shard_keys:
            yield Row(key, told)

    def _count_all(self, task: PartitionTask) -> list[SliceInfo]:
        """One hour after the other, until one of which the archive lacks something that may still come."""
        partition = task.partition
        slices = PartitionSlices(self._archive, partition, task.hours, task.newest_hour)
        start = self._manifest.next_offsets.get(partition, 0)
        last = self._manifest.last_slices.get(partition)
        infos: list[SliceInfo] = []
        dedups: dict[int, SaltDedup] | None = None
        for hour in task.hours:
            first = SliceName(hour, partition)
            of_hour = self._counted_before(first, start)
            if of_hour:
                dedups = None
            else:
                if dedups is None:
                    memory = {} if last is None else self._history.memory(last)
                    dedups = dedups_of(memory, self._settings.counting)
                of_hour = self._count_hour(slices.read(hour, start), first, dedups, infos)
            if not of_hour:
                break
            infos += of_hour
            start, last = of_hour[-1].next_offset, of_hour[-1].name
        return infos

    def _counted_before(self, name: SliceName, start: int) -> list[SliceInfo]:
        """An hour's slices, if an attempt before this has counted all of them, and nothing was missing; else none.

        From the middle of an hour none can go on: what dedup remembers is written with its last slice alone.
        """
        found: list[SliceInfo] = []
        while not found or found[-1].next_hour == name.hour:
            info = self._history.slice_info(name)
            if info is None or info.first_offset != start or info.gaps:
                return []
            found.append(info)
            start, name = info.next_offset, msgspec.structs.replace(name, part=name.part + 1)
        return found

    def _count_hour(
        self, records: SliceRecords, name: SliceName, dedups: dict[int, SaltDedup], before: list[SliceInfo]
    ) -> list[SliceInfo]:
        """The slices of an hour, from the first one's name on; none when the archive lacks what may still come."""
        found: list[SliceInfo] = []
        while not found or found[-1].next_hour == name.hour:
            info = self._count(records, name, dedups, [*before, *found])
            if info is None:
                return []
            found.append(info)
            name = msgspec.structs.replace(name, part=name.part + 1)
        return found

    def _count(
        self, records: SliceRecords, name: SliceName, dedups: dict[int, SaltDedup], before: list[SliceInfo]
    ) -> SliceInfo | None:
        """Of one slice; None when the archive lacks something that may still come."""
        settings = self._settings
        counter = SliceCounter(
            settings.counting,
            partition=name.partition,
            partitions=settings.kafka.partitions,
            blocks=self._blocks.table,
            late_ms_max=settings.history.late_hours * HOUR_MS,
            viewed_ms_min=self._manifest.forgotten_before * HOUR_MS,
            dedups=dedups,
        )
        start, number = records.next_offset, 0
        for record in records.next_slice(lambda: counter.events >= settings.history.slice_events_max):
            counter.record(record.key, record.value, record.record_ms)
            number += 1
        if records.gaps and not records.is_settled(time.time()):
            log.warning("slice %s waits: %s are not archived yet", name, records.gaps[:5])
            return None
        is_last = records.next_hour != name.hour
        counts = counter.finish(lambda hour: self._known(name.partition, before, hour), hands_on=is_last)
        return self._history.put_slice(
            name,
            counts,
            {
                "next_hour": records.next_hour,
                "first_offset": start,
                "next_offset": records.next_offset,
                "records": number,
                "gaps": [(gap.first, gap.last) for gap in records.gaps],
            },
        )

    def _known(self, partition: int, new: list[SliceInfo], hour: int) -> Iterator[Known]:
        """What earlier slices of the partition know of an hour viewed: those that count for it."""
        names = [name for name in self._manifest.slices.get(hour, []) if name.partition == partition]
        before = (self._history.slice_info(name) for name in names)
        mine = [info for info in new if hour in info.hours_viewed]
        return self._history.known([*(info for info in before if info is not None), *mine], hour)


class MergeShard(KeyedProcessFunction):
    """Of a shard what has come of each of so many tasks in; when it is all there, its ShardResult in JSON out.

    Counted, for in batch mode a timer at the end of all times fires more than once for a key.
    """

    def __init__(self, settings: Settings, before: bytes, shard_keys: Sequence[int], tasks: int) -> None:
        self._settings = settings
        self._before = before
        self._shard_of = {key: shard for shard, key in enumerate(shard_keys)}
        self._tasks = tasks

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect, and read which channel each video is of, and who is being erased."""
        settings = self._settings
        store = filesystem(Settings().s3)
        self._history = HistoryStore(store, settings.history.path)
        self._manifest = msgspec.json.decode(self._before, type=Manifest)
        self._rows = HistoryRows(settings.cassandra)
        self._eraser = Eraser(ErasureList(store, settings.erasure.path).open())
        self._told: dict[int, list[list[SliceInfo]]] = {}
        self._channel_of: dict[str, str] = {}
        CompactedTopic(
            settings.kafka.bootstrap_servers, settings.kafka.metadata_topic, read_metadata
        ).read_however_long(self._note_channel)

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Make the shard's tables with the last one. In batch mode what fails begins with its first element again."""
        shard = self._shard_of[ctx.get_current_key()]
        told = self._told.setdefault(shard, [])
        told.append(msgspec.json.decode(bytes(value), type=list[SliceInfo]))
        if len(told) == self._tasks:
            new = [info for of_task in self._told.pop(shard) for info in of_task]
            # None: the archive lacks something of each, and unless it is to be marked again, all stays as it is.
            is_due = new or days_to_mark_again(self._manifest, rules_of(self._settings.history))
            if is_due and _is_unpublished(self._history, self._manifest):
                yield Row(0, msgspec.json.encode(ShardResult(shard, new, self._make(shard, new))))

    def _make(self, shard: int, new: list[SliceInfo]) -> dict[str, dict[int, str]]:
        return ShardTables(
            self._history,
            self._rows,
            shard=shard,
            before=self._manifest,
            plan=_plan(self._settings, self._manifest, new),
            new=new,
            channel_of=self._channel_of,
            eraser=self._eraser,
        ).make()

    def _note_channel(self, video_id: str, about: bytes | None) -> None:
        if about is None:
            self._channel_of.pop(video_id, None)
        else:
            self._channel_of[video_id] = read_about(about).channel_id.decode()


def _is_unpublished(history: HistoryStore, before: Manifest) -> bool:
    """Whether history still is as it was before. Else a failure has this run again, or another rollup was faster."""
    return history.manifest(before.shards).run == before.run


def _plan(settings: Settings, before: Manifest, new: list[SliceInfo]) -> Plan:
    return plan_of(before, new, settings.counting, settings.kafka.partitions, settings.history)


class PublishManifest(KeyedProcessFunction):
    """All ShardResults in JSON in; with the last one the new manifest is written, and its run is what comes out."""

    def __init__(self, settings: Settings, before: bytes) -> None:
        self._settings = settings
        self._before = before

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        self._history = HistoryStore(filesystem(Settings().s3), self._settings.history.path)
        self._manifest = msgspec.json.decode(self._before, type=Manifest)
        self._rows = HistoryRows(self._settings.cassandra)
        self._results: list[ShardResult] = []

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[int]:  # noqa: ARG002
        """Make what is of all shards, write the manifest, and delete what it no longer names."""
        self._results.append(msgspec.json.decode(bytes(value), type=ShardResult))
        before = self._manifest
        if len(self._results) < before.shards or not _is_unpublished(self._history, before):
            return
        plan = _plan(self._settings, before, self._results[0].new)
        shared = SharedTables(self._history, self._rows, before, plan).make()
        after = published(before, plan, self._results, shared, self._settings.counting)
        self._history.publish(after)
        self._history.keep_only(after)
        self._history.forget_parts()
        self._history.forget_slices(after)
        yield after.run
