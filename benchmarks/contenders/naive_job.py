"""PyFlink as in its tutorials: one Python call for each event, and one keyed state for each event id.

The stream is keyed by event id, and a value with a time to live says whether the id was seen. Then tumbling event-time
windows of one minute count by video and kind. Submit it by `flink run -py benchmarks/contenders/naive_job.py`.
"""

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import fastavro
from pyflink.common import Duration, Row, Types, WatermarkStrategy
from pyflink.common.serialization import ByteArraySchema, SimpleStringSchema
from pyflink.common.time import Time
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import (
    AggregateFunction,
    KeyedProcessFunction,
    ProcessWindowFunction,
    RuntimeContext,
    StreamExecutionEnvironment,
)
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import StateTtlConfig, ValueStateDescriptor
from pyflink.datastream.window import TumblingEventTimeWindows
from pyflink.java_gateway import get_gateway

from benchmarks.inputs.encoding import PLAIN_EVENT
from settings import Settings

MINUTE_MS = 60_000
SCHEMA = fastavro.parse_schema(PLAIN_EVENT)


class ViewedAt(TimestampAssigner):
    """The time of an event is when it was viewed."""

    def extract_timestamp(self, value: Row, record_timestamp: int) -> int:  # noqa: ARG002
        """The time viewed, in ms since 1970."""
        return int(value[2])


class FirstOfId(KeyedProcessFunction):
    """Passes on only the first event of each id."""

    def __init__(self, remember_ms: int) -> None:
        self._remember_ms = remember_ms

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the state handle."""
        descriptor = ValueStateDescriptor("seen", Types.BOOLEAN())
        descriptor.enable_time_to_live(StateTtlConfig.new_builder(Time.milliseconds(self._remember_ms)).build())
        self._seen = runtime_context.get_state(descriptor)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:  # noqa: ARG002
        """Pass the event on, unless its id was seen."""
        if self._seen.value() is None:
            self._seen.update(True)
            yield value


class Count(AggregateFunction):
    """Counts events."""

    def create_accumulator(self) -> int:
        """Begin with 0."""
        return 0

    def add(self, value: Row, accumulator: int) -> int:  # noqa: ARG002
        """Count one event more."""
        return accumulator + 1

    def get_result(self, accumulator: int) -> int:
        """The count."""
        return accumulator

    def merge(self, one: int, other: int) -> int:
        """The sum."""
        return one + other


class AsJson(ProcessWindowFunction):
    """Writes the count of a window as JSON, with the names of the columns of the job in SQL."""

    def process(self, key: Row, context: ProcessWindowFunction.Context, elements: Iterable[int]) -> Iterator[str]:
        """Write the count at the end of the window."""
        video_id, kind = key
        start = datetime.fromtimestamp(context.window().start / 1000, UTC)
        count = {"video_id": video_id, "kind": kind, "minute_at": f"{start:%Y-%m-%d %H:%M:%S}"}
        yield json.dumps({**count, "views": next(iter(elements))})

    def clear(self, context: ProcessWindowFunction.Context) -> None:
        """Do nothing, since there is no state to clear."""


def read(datum: bytes) -> Row:
    """An encoded PLAIN_EVENT as Row(event_id, video_id, viewed_at, kind)."""
    event: Any = fastavro.schemaless_reader(io.BytesIO(datum), SCHEMA, None)
    return Row(event["event_id"].hex(), event["video_id"], event["viewed_at"], event["kind"])


def main() -> None:
    """Submit the job and return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--results-topic", help="Write counts to this topic, and end at the end of the events topic.")
    arguments = parser.parse_args()
    settings = Settings()
    rules = settings.counting
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    event_type = Types.ROW([Types.STRING(), Types.STRING(), Types.LONG(), Types.STRING()])

    env = StreamExecutionEnvironment.get_execution_environment()
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(settings.kafka.bootstrap_servers)
        .set_topics(arguments.topic)
        .set_group_id("naive")
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(ByteArraySchema())
    )
    if arguments.results_topic:
        source = source.set_bounded(KafkaOffsetsInitializer.latest())
    times = WatermarkStrategy.for_bounded_out_of_orderness(Duration.of_millis(rules.lateness_ms))
    counts = (
        env.from_source(source.build(), WatermarkStrategy.no_watermarks(), "events", type_info=octets)
        .map(read, output_type=event_type)
        .assign_timestamps_and_watermarks(times.with_timestamp_assigner(ViewedAt()))
        .key_by(lambda event: event[0], key_type=Types.STRING())
        .process(FirstOfId(rules.generation_ms), output_type=event_type)
        .key_by(lambda event: Row(event[1], event[3]), key_type=Types.ROW([Types.STRING(), Types.STRING()]))
        .window(TumblingEventTimeWindows.of(Time.milliseconds(MINUTE_MS)))
        .aggregate(Count(), AsJson(), accumulator_type=Types.LONG(), output_type=Types.STRING())
    )
    if arguments.results_topic:
        serializer = (
            KafkaRecordSerializationSchema.builder()
            .set_topic(arguments.results_topic)
            .set_value_serialization_schema(SimpleStringSchema())
            .build()
        )
        servers = settings.kafka.bootstrap_servers
        sink = KafkaSink.builder().set_bootstrap_servers(servers).set_record_serializer(serializer).build()
        counts.sink_to(sink)
    else:
        nowhere = get_gateway().jvm.org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink()
        counts._j_data_stream.sinkTo(nowhere)  # noqa: SLF001
    env.execute_async("naive, one event at a time")


if __name__ == "__main__":
    main()
