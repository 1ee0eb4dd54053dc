"""The rollup: counts the archive's closed hours again, and makes hours, days and totals of them. A batch job.

Submitted by `flink run -py jobs/rollup.py`; settings come from VIEW_COUNTS_* in the environment. Does what there is to
do since the last one, and ends; one at a time. Killed anywhere, it leaves the history that there was.
"""

import sys

import msgspec
from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment

from connectors.flink_kafka import balanced_keys, discard, key_by_first_field
from jobs.submission import batch_environment, settings_or_exit, without_credentials
from jobs.uids import BatchUid as Uid
from settings import Settings
from udfs.logic.history import (
    HistoryError,
    Manifest,
    PartitionTask,
    days_to_mark_again,
    hour_start,
    marked_by_none,
    rules_of,
    task_of,
)
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest
from udfs.sinks.history_store import HistoryStore
from udfs.sources.archive import Archive, filesystem

JOB_NAME = "rollup"


def build(env: StreamExecutionEnvironment, settings: Settings, to_do: list[PartitionTask], before: Manifest) -> None:
    """Add the graph."""
    settings = without_credentials(settings)
    state = msgspec.json.encode(before)
    # Else one of two workers may have most of the shards.
    env.set_max_parallelism(settings.counting.max_parallelism)
    shard_keys = balanced_keys(settings.counting.shards, settings.counting.max_parallelism)
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    element = Types.ROW([Types.INT(), octets])
    texts = [msgspec.json.encode(task).decode() for task in to_do]
    slices = (
        env.from_collection(texts, type_info=Types.STRING())
        .rebalance()
        .flat_map(CountSlices(settings, state, shard_keys), output_type=element)
        .name("count slices")
    )
    shards = (
        key_by_first_field(slices, octets)
        .process(MergeShard(settings, state, shard_keys, len(to_do)), output_type=element)
        .name("merge shards")
    )
    done = (
        key_by_first_field(shards, octets)
        .process(PublishManifest(settings, state), output_type=Types.INT())
        .set_parallelism(1)
        .name("publish")
    )
    discard(done, Uid.ROLLUP_END)


def main() -> None:
    """Run the job to its end, and say what it did."""
    settings = settings_or_exit()
    store = filesystem(settings.s3)
    history, archive = HistoryStore(store, settings.history.path), Archive(store, settings.archive.path)
    try:
        before = history.manifest(settings.counting.shards)
    except HistoryError as error:
        sys.exit(f"refused: {error}")
    archived: dict[int, set[int]] = {partition: set() for partition in range(settings.kafka.partitions)}
    for file in archive.files():
        archived.setdefault(file.partition, set()).add(file.hour)
    found = (task_of(partition, hours, before.last_hours.get(partition)) for partition, hours in archived.items())
    to_do = [task for task in found if task is not None]
    again = days_to_mark_again(before, rules_of(settings.history))
    if not to_do and not again:
        print(f"nothing to count: no hour of arrival has closed since run {before.run}")
        return
    if again:
        # Should this attempt end half-way and the rules be put back, what it had written would be taken for theirs.
        before = marked_by_none(before, again)
        history.publish(before)
    env = batch_environment()
    build(env, settings, to_do or [PartitionTask(0, [], 0)], before)
    env.execute(JOB_NAME)
    after = history.manifest(settings.counting.shards)
    counted = 0
    for task in to_do:
        waiting = [hour for hour in task.hours if hour > after.last_hours.get(task.partition, -1)]
        counted += len(task.hours) - len(waiting)
        if waiting:
            print(f"partition {task.partition} waits at {hour_start(waiting[0]):%Y-%m-%dT%H:%MZ}: records are missing")
    if again:
        print(f"days marked again: {len(again)}, by {rules_of(settings.history)}")
    through = f"{after.complete_through:%Y-%m-%dT%H:%M:%SZ}"
    print(f"run {after.run}: {counted} hours of partitions counted; complete through {through}")


if __name__ == "__main__":
    main()
