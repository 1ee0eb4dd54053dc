"""The rollup: a batch job that counts the archive again, adds late events, and writes history and its tables.

Submit it by `flink run -py jobs/rollup.py [--accept-settings]`; its settings come from VIEW_COUNTS_* in the
environment. It counts what has arrived since the last rollup, a number of hours of arrival at a time, and ends. It
holds the lease of history while it runs. It may be killed at any moment: the old state of history is then still in
force, or the new one is in force already and the next rollup writes the rest of its rows.
"""

import sys

import msgspec
from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment

from connectors.cassandra import CassandraAwayError, connect
from connectors.flink_kafka import balanced_keys, discard, key_by_first_field
from connectors.kafka_admin import topic_id
from jobs.kept import accepts_settings
from jobs.submission import batch_environment, execute_until, settings_or_exit, without_credentials
from jobs.uids import BatchUid as Uid
from schemas.jobs import ROLLUP
from settings import Settings
from udfs.logic.history.manifest import HistoryError, Manifest, hour_start, rules_of
from udfs.logic.stream.kept_settings import ACCEPT
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest, WriteRows
from udfs.stages.rollup_end import end_unit
from udfs.stages.rollup_start import Work, begin
from udfs.stores.archive import filesystem
from udfs.stores.history_register import CassandraRegisters, has_totals
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import LeaseHolder, LeaseLostError


def build(env: StreamExecutionEnvironment, settings: Settings, work: Work) -> None:
    """Add the graph for one unit of work to the environment."""
    settings = without_credentials(settings)
    unit = msgspec.json.encode(work.unit)
    # Without this, one of two workers may get most of the shards.
    env.set_max_parallelism(settings.counting.max_parallelism)
    shard_keys = balanced_keys(settings.counting.shards, settings.counting.max_parallelism)
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    element = Types.ROW([Types.INT(), octets])
    texts = [msgspec.json.encode(task).decode() for task in work.tasks]
    slices = (
        env.from_collection(texts, type_info=Types.STRING())
        .rebalance()
        .flat_map(CountSlices(settings, unit, shard_keys), output_type=element)
        .name("count slices")
    )
    shards = (
        key_by_first_field(slices, octets)
        .process(MergeShard(settings, unit, shard_keys, len(work.tasks)), output_type=element)
        .name("merge shards")
    )
    manifest = (
        key_by_first_field(shards, octets)
        .process(PublishManifest(settings, unit, shard_keys), output_type=element)
        .set_parallelism(1)
        .name("publish")
    )
    rows = (
        key_by_first_field(manifest, octets)
        .process(WriteRows(settings, unit, shard_keys), output_type=Types.INT())
        .name("write rows")
    )
    discard(rows, Uid.ROLLUP_END)


def told(work: Work, after: Manifest, settings: Settings) -> str:
    """What one unit of work did, in lines that are printed. `after` is the manifest that it published."""
    lines, counted = [], 0
    for task in work.tasks:
        waiting = [hour for hour in task.hours if hour > after.last_hours.get(task.partition, -1)]
        counted += len(task.hours) - len(waiting)
        if waiting:
            at = f"{hour_start(waiting[0]):%Y-%m-%dT%H:%MZ}"
            lines.append(f"partition {task.partition} waits at {at}, because records are missing")
        if task.again:
            since = f"{hour_start(task.again[0].hour):%Y-%m-%dT%H:%MZ}"
            lines.append(f"partition {task.partition} is counted again from {since}, as records were archived late")
    if work.marks:
        lines.append(f"{len(work.marks)} days are marked again, with {rules_of(settings.history)}")
    through = f"{after.complete_through:%Y-%m-%dT%H:%M:%SZ}"
    lines.append(f"run {after.run}: {counted} hours of partitions counted; complete through {through}")
    return "\n".join(lines)


def main() -> None:
    """Run units of work until nothing is left, and print what each did."""
    accepts = accepts_settings(__doc__)
    settings = settings_or_exit()
    store = filesystem(settings.s3)
    history = HistoryStore(store, settings.history.path)
    try:
        session = connect(settings.cassandra)
    except CassandraAwayError as error:
        sys.exit(str(error))
    try:
        registers = CassandraRegisters(session)
        counts_on = True
        while counts_on:
            with LeaseHolder(
                registers, settings.history.path, ROLLUP.name, deadline_s=settings.history.deadline_s, say=print
            ) as holder:
                work = begin(
                    settings,
                    store,
                    holder.register,
                    holder.lease,
                    has_totals=lambda: has_totals(session),
                    topic_id=topic_id(settings.kafka, settings.kafka.events_topic),
                    accepts=accepts,
                    say=print,
                )
                if work is None:
                    print("nothing to count: no hour of arrival has ended since the last run")
                    if accepts:
                        print(
                            f"{ACCEPT} had no effect, because only a rollup that counts something writes the settings "
                            "to history: give it again then"
                        )
                    return
                env = batch_environment()
                build(env, settings, work)
                execute_until(env, ROLLUP.name, holder.lease.held.deadline_ms)
                end_unit(settings, store, work.unit, holder.lease)
                after = history.manifest(holder.lease.check().manifest, settings.counting.shards)
                print(told(work, after, settings))
                counts_on = after.run > work.unit.before.run and not work.is_last
    except (HistoryError, LeaseLostError) as error:
        sys.exit(f"refused: {error}")
    finally:
        session.cluster.shutdown()


if __name__ == "__main__":
    main()
