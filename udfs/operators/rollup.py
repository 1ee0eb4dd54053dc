"""Flink operators of the rollup, in batch mode: slices by partition, files by shard, the manifest, rows by shard.

Elements are tasks and their results, in JSON. The counts themselves go from one stage to the next through the object
store. Each attempt writes under its own names, so that an earlier attempt that still writes does no harm, and checks
the lease before each piece of work. The credentials of the store come from the worker's environment; no job carries
them.
"""

import logging
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack

import msgspec
from confluent_kafka import KafkaException
from pyflink.common import Row
from pyflink.datastream import FlatMapFunction, KeyedProcessFunction, RuntimeContext

from connectors.kafka_gaps import without_empty
from settings import Settings
from settings.durations import HOUR_MS
from udfs.logic.erasure.erasures import Eraser
from udfs.logic.history.manifest import SliceInfo, SliceName, made_by, rules_of
from udfs.logic.history.register import manifest_name, token_of
from udfs.logic.history.rollup_plan import (
    PartitionTask,
    Recount,
    ShardResult,
    days_to_mark_again,
    plan_of,
    published,
    since_last,
)
from udfs.logic.kernels.id_index import Ids
from udfs.logic.slices.repeats import SeenIds
from udfs.logic.slices.slice_counts import SliceCounter, dedups_of
from udfs.logic.stream.block_list import BlockList, read_blocked
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.kept_settings import of_history
from udfs.logic.wire.metadata import decode_metadata, read_metadata
from udfs.sources.compacted import CompactedTopic
from udfs.stages.rollup_unit import RollupUnit, rows_owed
from udfs.stages.shard_tables import ShardTables
from udfs.stages.shared_tables import SharedTables
from udfs.stages.table_rows import TableRows
from udfs.stores.archive import Archive, Gap, filesystem
from udfs.stores.arrival_hours import ArrivalHours
from udfs.stores.erasure_list import ErasureList
from udfs.stores.history_register import registers
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease
from udfs.stores.slice_records import PartitionSlices, SliceRecords

log = logging.getLogger(__name__)


class _Worker:
    """What every stage needs: the unit of work, history, the lease, and a name for the files of this attempt."""

    def __init__(self, settings: Settings, unit: bytes) -> None:
        self._settings = settings
        self._unit_json = unit

    def _open(self) -> None:
        self._unit = msgspec.json.decode(self._unit_json, type=RollupUnit)
        self._manifest = self._unit.before
        self._store = filesystem(Settings().s3)
        self._history = HistoryStore(self._store, self._settings.history.path)
        self._lease = Lease(registers(self._settings.cassandra), self._unit.held)
        self._attempt = secrets.token_hex(4)
        self._made = made_by(self._lease.token, self._attempt)
        self._lease.check()


class CountSlices(_Worker, FlatMapFunction):
    """Counts the slices of a PartitionTask, in JSON, and emits Row(shard key, Recount in JSON) for each shard."""

    def __init__(self, settings: Settings, unit: bytes, shard_keys: Sequence[int]) -> None:
        super().__init__(settings, unit)
        self._shard_keys = shard_keys

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Read the block list."""
        self._open()
        settings = self._settings
        self._archive = Archive(self._store, settings.archive.path)
        self._blocks = BlockList()
        CompactedTopic(settings.kafka, settings.kafka.blocked_topic, read_blocked).read_however_long(
            lambda viewer_id, periods: self._blocks.put(viewer_id.encode(), periods)
        )

    def flat_map(self, value: str) -> Iterator[Row]:
        """Count a partition's slices."""
        task = msgspec.json.decode(value, type=PartitionTask)
        recount = msgspec.json.encode(self._count_all(task) if task.hours else Recount())
        for key in self._shard_keys:
            yield Row(key, recount)

    def _count_all(self, task: PartitionTask) -> Recount:
        """Count one hour after another, up to the first one for which records are missing that may still come."""
        partition = task.partition
        times = ArrivalHours.of(self._archive, self._settings)
        slices = PartitionSlices(self._archive, times, partition, task.hours, task.newest_hour, task.ahead)
        start, last = since_last(self._manifest, partition, task.again)
        infos: list[SliceInfo] = []
        dedups: dict[int, SaltDedup] | None = None
        for hour in task.hours:
            self._lease.check()
            of_hour = self._counted_before(hour, partition, start)
            if of_hour:
                dedups = None
            else:
                if dedups is None:
                    memory = {} if last is None else self._history.memory(last)
                    dedups = dedups_of(memory, self._settings.counting)
                first = SliceName(hour, partition, 0, self._made)
                of_hour = self._count_hour(slices.read(hour, start), first, dedups, infos, task)
            if not of_hour:
                break
            infos += of_hour
            start, last = of_hour[-1].next_offset, of_hour[-1].name
        if task.again and start < self._manifest.next_offsets[partition]:
            # Keep what was counted before until all of it can be counted again.
            log.warning("partition %d is not counted again yet: its records only reach to offset %d", partition, start)
            return Recount()
        return Recount(infos, task.again)

    def _counted_before(self, hour: int, partition: int, start: int) -> list[SliceInfo]:
        """Return an hour's slices if an earlier attempt of this lease has counted all of them without gaps, else none.

        A part of them is of no use: only the last slice of an hour has dedup's memory, with which counting continues.
        """
        found: list[SliceInfo] = []
        for info in self._history.slices_of(self._lease.token, hour, partition):
            if info.part != len(found) or info.first_offset != start or info.gaps:
                return []
            found.append(info)
            start = info.next_offset
        return found if found and found[-1].next_hour != hour else []

    def _count_hour(
        self,
        records: SliceRecords,
        name: SliceName,
        dedups: dict[int, SaltDedup],
        before: list[SliceInfo],
        task: PartitionTask,
    ) -> list[SliceInfo]:
        """Count the slices of an hour; `name` is that of the first. None if records are missing that may still come."""
        found: list[SliceInfo] = []
        while not found or found[-1].next_hour == name.hour:
            info = self._count(records, name, dedups, [*before, *found], task)
            if info is None:
                return []
            found.append(info)
            name = msgspec.structs.replace(name, part=name.part + 1)
        return found

    def _count(
        self,
        records: SliceRecords,
        name: SliceName,
        dedups: dict[int, SaltDedup],
        before: list[SliceInfo],
        task: PartitionTask,
    ) -> SliceInfo | None:
        """Count one slice. Return None if records are missing that may still come."""
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
            counter.count(record.key, record.value, record.record_ms)
            number += 1
        gaps = self._real_gaps(name.partition, records.gaps)
        # If the hour was counted before, nobody waits for missing records a second time.
        is_settled = name.hour <= self._manifest.last_hours.get(name.partition, -1) or records.is_settled(time.time())
        if gaps and not is_settled:
            log.warning("slice %s waits: the offsets %s are not archived yet", name, gaps[:5])
            return None
        is_last = records.next_hour != name.hour
        counts = counter.finish(
            lambda hour, ids: self._known(task, before, hour, ids),
            newest=lambda hours, ids: self._newest_known(task, before, hours, ids),
            hands_on=is_last,
        )
        files, size = records.archived() if gaps else (0, 0)
        return self._history.put_slice(
            name,
            counts,
            {
                "next_hour": records.next_hour,
                "first_offset": start,
                "next_offset": records.next_offset,
                "records": number,
                "gaps": gaps,
                "archive_files": files,
                "archive_bytes": size,
            },
        )

    def _real_gaps(self, partition: int, gaps: Sequence[Gap]) -> list[tuple[int, int]]:
        """Return the gaps without offsets at which, as Kafka says, there never was a record."""
        places = [(gap.first, gap.last) for gap in gaps]
        if not places:
            return places
        kafka = self._settings.kafka
        try:
            return without_empty(kafka, kafka.events_topic, partition, places)
        except (KafkaException, TimeoutError) as error:
            log.warning(
                "Kafka does not say whether offsets %s of partition %d are records: %s", places[:5], partition, error
            )
            return places

    def _known(self, task: PartitionTask, new: list[SliceInfo], hour: int, ids: Ids) -> Iterator[SeenIds]:
        """Yield the events with these ids that earlier slices of the partition have counted for an hour viewed."""
        before = (self._history.slice_info(name) for name in self._counted_for(task, hour))
        mine = [info for info in new if hour in info.hours_viewed]
        return self._history.known([*(info for info in before if info is not None), *mine], hour, ids)

    def _newest_known(
        self, task: PartitionTask, new: list[SliceInfo], hours: Collection[int], ids: Ids
    ) -> Iterator[SeenIds]:
        """Yield the events with these ids that earlier slices have counted for these hours viewed, newest first."""
        mine = [info for info in reversed(new) if not info.hours_viewed.isdisjoint(hours)]
        yield from self._history.known_of_hours(mine, hours, ids)
        names = {name for hour in hours for name in self._counted_for(task, hour)}
        before = (self._history.slice_info(name) for name in sorted(names, reverse=True))
        yield from self._history.known_of_hours((info for info in before if info is not None), hours, ids)

    def _counted_for(self, task: PartitionTask, hour: int) -> list[SliceName]:
        """Return the partition's slices in the manifest that count for an hour viewed and are not counted again."""
        again = set(task.again)
        names = self._manifest.slices.get(hour, [])
        return [name for name in names if name.partition == task.partition and name not in again]


class MergeShard(_Worker, KeyedProcessFunction):
    """Takes a shard's Recounts of all tasks. After the last one it makes the shard's files and emits its ShardResult.

    It counts them to `tasks`, because in batch mode a timer at the end of time fires more than once for a key.
    """

    def __init__(self, settings: Settings, unit: bytes, shard_keys: Sequence[int], tasks: int) -> None:
        super().__init__(settings, unit)
        self._shard_of = {key: shard for shard, key in enumerate(shard_keys)}
        self._tasks = tasks

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect, and read the channels of videos and the open erasures."""
        self._open()
        settings = self._settings
        self._eraser = Eraser(ErasureList(self._store, settings.erasure.path).open())
        self._recounts: dict[int, list[Recount]] = {}
        self._channel_of: dict[str, str] = {}
        # If the topic cannot be read, hours, days and totals are the same, but no video counts for a channel.
        CompactedTopic(settings.kafka, settings.kafka.metadata_topic, read_metadata).read_if_there(self._note_channel)

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Make the shard's files with the last element. A batch task that fails begins with its first element again."""
        shard = self._shard_of[ctx.get_current_key()]
        recounts = self._recounts.setdefault(shard, [])
        recounts.append(msgspec.json.decode(bytes(value), type=Recount))
        if len(recounts) == self._tasks:
            counted = self._recounts.pop(shard)
            is_new = any(one.new for one in counted) or self._unit.everything
            # If no slice is new, each partition waits for records. Then only days to mark again are a reason to go on.
            if is_new or days_to_mark_again(self._manifest, rules_of(self._settings.history)):
                self._lease.check()
                yield Row(0, msgspec.json.encode(ShardResult(shard, counted, self._make(shard, counted), self._made)))

    def _make(self, shard: int, counted: list[Recount]) -> dict[str, dict[int, str]]:
        settings = self._settings
        return ShardTables(
            self._history,
            shard=shard,
            made=self._made,
            before=self._manifest,
            plan=plan_of(self._manifest, counted, settings.counting, settings.kafka.partitions, settings.history),
            new=[info for one in counted for info in one.new],
            channel_of=self._channel_of,
            eraser=self._eraser,
        ).make()

    def _note_channel(self, video_id: str, about: bytes | None) -> None:
        if about is None:
            self._channel_of.pop(video_id, None)
        else:
            self._channel_of[video_id] = decode_metadata(about).channel_id.decode()


class PublishManifest(_Worker, KeyedProcessFunction):
    """Takes the ShardResults of all shards, in JSON. With the last one it publishes a manifest.

    It emits Row(shard key, name of the manifest that this lease has published) for each shard.
    """

    def __init__(self, settings: Settings, unit: bytes, shard_keys: Sequence[int]) -> None:
        super().__init__(settings, unit)
        self._shard_keys = shard_keys

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        self._open()
        self._results: list[ShardResult] = []

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:  # noqa: ARG002
        """With the last result, make the files of all shards, and publish."""
        self._results.append(msgspec.json.decode(bytes(value), type=ShardResult))
        if len(self._results) == self._manifest.shards:
            name = self._publish()
            for key in self._shard_keys:
                yield Row(key, name.encode())

    def _publish(self) -> str:
        in_force = self._lease.check().manifest
        if token_of(in_force) == self._lease.token:
            # An earlier attempt has published, so only the rows have to be written.
            return in_force
        settings, before, results = self._settings, self._manifest, self._results
        plan = plan_of(before, results[0].counted, settings.counting, settings.kafka.partitions, settings.history)
        made = {result.shard: result.made for result in results}
        after = published(
            before,
            self._unit.before_name,
            plan,
            results,
            SharedTables(self._history, before, plan, made, self._made).make(),
            settings.counting,
            settings.history,
            token=self._lease.token,
            made_ms=int(time.time() * 1000),
            everything=self._unit.everything,
        )
        made_by_settings = dict(of_history(settings).values)
        after = msgspec.structs.replace(after, topic_id=self._unit.topic_id, settings=made_by_settings)
        name = manifest_name(self._lease.token, self._attempt)
        self._history.put_manifest(name, after)
        return self._lease.publish(name)


class WriteRows(_Worker, KeyedProcessFunction):
    """Takes the name of the published manifest for each shard, writes the shard's rows, and emits its number."""

    def __init__(self, settings: Settings, unit: bytes, shard_keys: Sequence[int]) -> None:
        super().__init__(settings, unit)
        self._shard_of = {key: shard for shard, key in enumerate(shard_keys)}

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        # These come first, because Flink calls close even if open fails.
        self._owed = ExitStack()
        self._rows: TableRows | None = None
        self._open()

    def close(self) -> None:
        """End the session of the rows."""
        self._owed.close()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[int]:
        """Write the shard's rows."""
        if self._rows is None:
            # Every shard gets the same manifest.
            manifest = self._history.manifest(bytes(value).decode(), self._manifest.shards)
            owed = rows_owed(self._history, self._settings, manifest, self._manifest, self._lease)
            self._rows = self._owed.enter_context(owed)
        shard = self._shard_of[ctx.get_current_key()]
        self._rows.write_shard(shard)
        yield shard
