"""The count job: Kafka -> dedup by salt -> one-minute windows by shard -> Cassandra.

Late events and dead letters go to topics of their own. After the Cassandra sink, the enrich stage joins counts with
video metadata: it writes metadata to Cassandra and enriched counts to Kafka.

Submit it by `flink run -py jobs/view_counts.py [--check] [--accept-settings]`; its settings come from VIEW_COUNTS_* in
the environment.
"""

import argparse
from typing import NamedTuple

from pyflink.common import Types
from pyflink.datastream import DataStream, FlatMapFunction, StreamExecutionEnvironment
from pyflink.datastream.data_stream import BroadcastStream

from connectors.flink_kafka import (
    balanced_keys,
    bytes_sink,
    compacted_source,
    discard,
    events_source,
    key_by_first_field,
    record_type,
    side_output,
)
from jobs.gaps import tell_missing
from jobs.kept import add_accept, check_kept_or_exit, keep_settings
from jobs.submission import check_flink_or_exit, check_topics_or_exit, job_environment, settings_or_exit, slots_needed
from jobs.uids import ViewCountsUid as Uid
from schemas.jobs import COUNT
from settings import Settings
from udfs.logic.stream.block_list import read_blocked
from udfs.logic.stream.kept_settings import KeptSettings, of_state
from udfs.logic.wire.keyed_records import Reader
from udfs.logic.wire.metadata import read_metadata
from udfs.operators.cassandra_sink import CassandraSink, handed_on_type
from udfs.operators.dedup import BLOCKED_STATE, Dedup, dead_letter_tag, late_tag
from udfs.operators.enrich import METADATA_STATE, Enrich
from udfs.operators.keyed_records import ReadKeyedRecords, broadcast_descriptor, rest_type
from udfs.operators.window import Window


class Inputs(NamedTuple):
    """The streams that the job reads.

    `events` are Row(salt key, record), `blocked` and `metadata` are records of compacted topics. If `metadata` is None,
    the job has no enrich stage.
    """

    events: DataStream
    blocked: DataStream
    metadata: DataStream | None


def inputs(env: StreamExecutionEnvironment, settings: Settings, salt_keys: list[int]) -> Inputs:
    """The streams of the topics that the settings name. `salt_keys` is the key of each salt, by salt."""
    kafka = settings.kafka
    return Inputs(
        events_source(env, kafka, salt_keys, Uid.EVENTS_SOURCE),
        compacted_source(env, kafka, kafka.blocked_topic, Uid.BLOCKED_SOURCE),
        compacted_source(env, kafka, kafka.metadata_topic, Uid.METADATA_SOURCE, may_be_missing=True)
        if settings.job.enrichment
        else None,
    )


def build(
    settings: Settings,
    read: Inputs,
    *,
    salt_keys: list[int],
    shard_keys: list[int],
    sink: FlatMapFunction,
    accepts: bool = False,
) -> None:
    """Add the graph to the environment of the streams. The elements that `sink` returns go to the enrich stage.

    `salt_keys` and `shard_keys` are Flink's keys, by salt and by shard. If `accepts` is true, the job continues from
    state that does not say with which settings it was made (udfs.logic.stream.kept_settings).
    """
    kept = of_state(settings, accepts=accepts)
    rules, kafka = settings.counting, settings.kafka
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    blocked = _broadcast(
        settings,
        read.blocked,
        kafka.blocked_topic,
        read_blocked,
        BLOCKED_STATE,
        Uid.BLOCKED,
        Uid.BLOCKED_DEAD_LETTER_SINK,
    )
    partials = (
        key_by_first_field(read.events, record_type())
        .connect(blocked)
        .process(
            Dedup(rules, settings.job, kafka, kept, salt_keys, shard_keys), output_type=Types.ROW([Types.INT(), octets])
        )
    )
    _lay_out(partials, settings.job.dedup_parallelism).uid(Uid.DEDUP).name("dedup")
    for tag, topic, uid in (
        (late_tag(), kafka.late_topic, Uid.LATE_SINK),
        (dead_letter_tag(), kafka.dead_letter_topic, Uid.DEAD_LETTER_SINK),
    ):
        _to_topic(side_output(partials, tag), settings, topic, uid)
    windows = key_by_first_field(partials, octets).process(
        Window(rules, settings.job, kept, shard_keys), output_type=Types.PICKLED_BYTE_ARRAY()
    )
    _lay_out(windows, settings.job.window_parallelism).uid(Uid.WINDOW).name("window")
    # With another parallelism than the windows, the sink would not share their Python worker.
    written = windows.flat_map(sink, output_type=handed_on_type())
    _lay_out(written, settings.job.window_parallelism).uid(Uid.CASSANDRA_SINK).name("cassandra")
    discard(written if read.metadata is None else _enrich(settings, written, read.metadata, kept), Uid.END)


def _enrich(settings: Settings, written: DataStream, metadata: DataStream, kept: KeptSettings) -> DataStream:
    known = _broadcast(
        settings, metadata, settings.kafka.metadata_topic, read_metadata, METADATA_STATE, Uid.METADATA,
        Uid.METADATA_DEAD_LETTER_SINK,
    )  # fmt: skip
    enriched = (
        key_by_first_field(written, Types.PICKLED_BYTE_ARRAY())
        .connect(known)
        .process(Enrich(settings.kafka, settings.cassandra, settings.job, kept), output_type=Types.INT())
    )
    return _lay_out(enriched, settings.job.window_parallelism).uid(Uid.ENRICH).name("enrich")


def _broadcast(
    settings: Settings, records: DataStream, topic: str, reader: Reader, state: str, uid: Uid, dead_letter_uid: Uid
) -> BroadcastStream:
    """The records of a compacted topic, decoded by one subtask and broadcast. Unreadable ones become dead letters."""
    rests = records.process(ReadKeyedRecords(topic, reader), output_type=rest_type())
    rests.set_parallelism(1).uid(uid).name(topic)
    _to_topic(side_output(rests, dead_letter_tag()), settings, settings.kafka.dead_letter_topic, dead_letter_uid)
    return rests.broadcast(broadcast_descriptor(state))


def _to_topic(values: DataStream, settings: Settings, topic: str, uid: Uid) -> None:
    values.sink_to(bytes_sink(settings.kafka, topic)).uid(uid).name(topic)


def _lay_out(stream: DataStream, parallelism: int | None) -> DataStream:
    return stream if parallelism is None else stream.set_parallelism(parallelism)


def main() -> None:
    """Submit the job and return. With --check, submit nothing and print how many slots the job needs."""
    parser = argparse.ArgumentParser(prog="jobs/view_counts.py")
    parser.add_argument(
        "--check",
        action="store_true",
        help="Check the settings, the topics, Flink's settings and the graph, and do not submit the job.",
    )
    add_accept(parser)
    arguments = parser.parse_args()
    accepts = bool(arguments.accept_settings)
    settings = settings_or_exit()
    check_topics_or_exit(settings)
    rules = settings.counting
    env = job_environment()
    check_flink_or_exit(env, settings)
    check_kept_or_exit(env, settings, accepts=accepts)
    env.set_max_parallelism(rules.max_parallelism)
    salt_keys = balanced_keys(rules.salts, rules.max_parallelism)
    shard_keys = balanced_keys(rules.shards, rules.max_parallelism)
    sink = CassandraSink(settings.cassandra, shard_keys, hands_on=settings.job.enrichment)
    read = inputs(env, settings, salt_keys)
    build(settings, read, salt_keys=salt_keys, shard_keys=shard_keys, sink=sink, accepts=accepts)
    if arguments.check:
        print(f"checked: the job needs {slots_needed(env, COUNT.name)} slots")
        return
    tell_missing(settings)
    env.execute_async(COUNT.name)
    keep_settings(settings)


if __name__ == "__main__":
    main()
