"""The count job: Kafka -> dedup by salt -> one-minute windows by shard -> Cassandra; late and bad input to Kafka.

Submitted by `flink run -py jobs/view_counts.py`; settings come from VIEW_COUNTS_* in the environment.
"""

from pyflink.common import Types
from pyflink.datastream import DataStream, FlatMapFunction, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from connectors.flink_kafka import (
    balanced_keys,
    bytes_sink,
    events_source,
    key_by_first_field,
    record_type,
    side_output,
)
from jobs.submission import check_flink_or_exit, check_topic_or_exit, settings_or_exit
from jobs.uids import ViewCountsUid as Uid
from settings import Settings
from udfs.operators.cassandra_sink import CassandraSink
from udfs.operators.dedup import Dedup, dead_letter_tag, late_tag
from udfs.operators.window import Window

JOB_NAME = "view-counts"


def build(settings: Settings, *, events: DataStream, salt_keys: list[int], sink: FlatMapFunction) -> None:
    """Add the graph to the environment of `events`, a stream of Row(salt key, record)."""
    rules = settings.counting
    shard_keys = balanced_keys(rules.shards, rules.max_parallelism)
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    partials = key_by_first_field(events, record_type()).process(
        Dedup(rules, settings.kafka.events_topic, salt_keys, shard_keys),
        output_type=Types.ROW([Types.INT(), octets]),
    )
    _lay_out(partials, settings.job.dedup_parallelism).uid(Uid.DEDUP).name("dedup")
    for tag, topic, uid in (
        (late_tag(), settings.kafka.late_topic, Uid.LATE_SINK),
        (dead_letter_tag(), settings.kafka.dead_letter_topic, Uid.DEAD_LETTER_SINK),
    ):
        side_output(partials, tag).sink_to(bytes_sink(settings.kafka, topic)).uid(uid).name(topic)
    windows = key_by_first_field(partials, octets).process(
        Window(rules, shard_keys), output_type=Types.PICKLED_BYTE_ARRAY()
    )
    _lay_out(windows, settings.job.window_parallelism).uid(Uid.WINDOW).name("window")
    # At the same parallelism, or the two would not share a worker.
    written = windows.flat_map(sink, output_type=Types.INT())
    _lay_out(written, settings.job.window_parallelism).uid(Uid.CASSANDRA_SINK).name("cassandra")
    nowhere = get_gateway().jvm.org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink()
    written._j_data_stream.sinkTo(nowhere).uid(Uid.END).name("end")  # noqa: SLF001


def _lay_out(stream: DataStream, parallelism: int | None) -> DataStream:
    return stream if parallelism is None else stream.set_parallelism(parallelism)


def main() -> None:
    """Submit the job and return."""
    settings = settings_or_exit()
    check_topic_or_exit(settings)
    rules = settings.counting
    env = StreamExecutionEnvironment.get_execution_environment()
    check_flink_or_exit(env, settings)
    env.set_max_parallelism(rules.max_parallelism)
    salt_keys = balanced_keys(rules.salts, rules.max_parallelism)
    events = events_source(env, settings.kafka, salt_keys, Uid.EVENTS_SOURCE)
    build(settings, events=events, salt_keys=salt_keys, sink=CassandraSink(settings.cassandra, rules.shards))
    env.execute_async(JOB_NAME)


if __name__ == "__main__":
    main()
