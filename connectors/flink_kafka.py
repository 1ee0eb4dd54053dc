"""Kafka sources and sinks for Flink jobs. Together with flink_ticks this is the part of connectors that imports Flink.

PyFlink's `key_by` adds a Python operator, so the sources key their streams in the JVM: a SQL expression turns the key
of a record into the Flink key of its salt. No record key, however malformed, can make that expression fail. A record
without a salt, or in another partition than its salt's, gets a negative key of its partition. Records of different
partitions arrive in no fixed order, so with one common key a replay could put such a record into another minute.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pyflink.common import Types
from pyflink.common.serialization import ByteArraySchema
from pyflink.common.typeinfo import TypeInformation
from pyflink.datastream import DataStream, OutputTag, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import KafkaRecordSerializationSchema, KafkaSink
from pyflink.datastream.data_stream import KeyedStream
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment
from pyflink.table.udf import UserDefinedFunctionWrapper

from connectors.kafka_properties import java_properties
from schemas.topics import DEAD_LETTER_BYTES_MAX
from settings import KafkaSettings

# How often Flink checks whether a missing topic exists now.
MISSING_LOOK_INTERVAL = "30 s"
# A SQL expression for a record's timestamp in ms since 1970.
_EPOCH = "TO_TIMESTAMP_LTZ(0, 3)"
MILLIS = (
    f"CAST(TIMESTAMPDIFF(SECOND, {_EPOCH}, ts) AS BIGINT) * 1000 + EXTRACT(MILLISECOND FROM CAST(ts AS TIMESTAMP(3)))"
)


def record_type() -> TypeInformation:
    """The type of Row(value, record timestamp in ms, partition, offset)."""
    return Types.ROW([Types.PRIMITIVE_ARRAY(Types.BYTE()), Types.LONG(), Types.INT(), Types.LONG()])


def balanced_keys(keys: int, max_parallelism: int) -> list[int]:
    """An integer for each number from 0 to keys - 1, to be used as its Flink key.

    With these, each subtask gets the same number of keys for any parallelism that divides `keys`: number i falls into
    key group i * max_parallelism // keys, by Flink's own hash of Row(key).
    """
    jvm = get_gateway().jvm
    assign = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignToKeyGroup
    # One row is reused, because each construction would look up every part of the class's name in the JVM.
    row = jvm.org.apache.flink.types.Row(1)
    wanted = {i * max_parallelism // keys: i for i in range(keys)}
    found: dict[int, int] = {}
    candidate = 0
    while len(found) < keys:
        row.setField(0, candidate)
        index = wanted.get(assign(row, max_parallelism))
        if index is not None:
            found.setdefault(index, candidate)
        candidate += 1
    return [found[i] for i in range(keys)]


def key_by_first_field(stream: DataStream, value_type: TypeInformation) -> KeyedStream:
    """Key a stream of Row(int key, value) by the key, in the JVM."""
    java = stream._j_data_stream.keyBy(  # noqa: SLF001
        get_gateway().jvm.KeyByKeySelector(), Types.ROW([Types.INT()]).get_java_type_info()
    )
    return KeyedStream(java, value_type, stream)


def side_output(stream: DataStream, tag: OutputTag) -> DataStream:
    """The stream of a tag. PyFlink's `get_side_output` would add an identity map, which is one more Python operator."""
    return DataStream(stream._j_data_stream.getSideOutput(tag.get_java_output_tag()))  # noqa: SLF001


def events_source(
    env: StreamExecutionEnvironment,
    kafka: KafkaSettings,
    salt_keys: list[int],
    uid: str,
    *,
    bounded: bool = False,
) -> DataStream:
    """Row(key, record_type()) of every record of the events topic. A first start begins at the earliest offset.

    The key is that of the record's salt. It is -1 - partition if the record's key is no salt of that partition. A salt
    belongs to partition salt mod number of partitions.
    """
    cases = " ".join(
        f"WHEN k = x'{salt:08x}' AND p = {salt % kafka.partitions} THEN {key}" for salt, key in enumerate(salt_keys)
    )
    return records(
        env,
        kafka,
        kafka.events_topic,
        uid,
        f"CASE {cases} ELSE -1 - p END AS k, ROW(v, {MILLIS}, p, o) AS r",
        Types.ROW_NAMED(["k", "r"], [Types.INT(), record_type()]),
        bounded=bounded,
    )


def compacted_source(
    env: StreamExecutionEnvironment, kafka: KafkaSettings, topic: str, uid: str, *, may_be_missing: bool = False
) -> DataStream:
    """Row(key, value, record timestamp in ms, partition, offset) of every record of a topic, from the earliest on.

    The value of a tombstone is None. With `may_be_missing` the job does not fail if the topic does not exist, and reads
    it once it does.
    """
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    fields = {"k": octets, "v": octets, "t": Types.LONG(), "p": Types.INT(), "o": Types.LONG()}
    row = Types.ROW_NAMED(list(fields), list(fields.values()))
    return records(env, kafka, topic, uid, f"k, v, {MILLIS} AS t, p, o", row, may_be_missing=may_be_missing)


def records(
    env: StreamExecutionEnvironment,
    kafka: KafkaSettings,
    topic: str,
    uid: str,
    columns: str,
    row_type: TypeInformation,
    *,
    group: str = "view-counts",
    bounded: bool = False,
    may_be_missing: bool = False,
    functions: Mapping[str, UserDefinedFunctionWrapper] = MappingProxyType({}),
    config: Mapping[str, str] = MappingProxyType({}),
) -> DataStream:
    """A row of SQL `columns` for every record of a topic.

    The expressions may use k (key), v (value), ts (record timestamp), p (partition) and o (offset), and the Python
    `functions` by their names. `row_type` is the type of the row. `config` are options of Flink's tables.
    """
    tables = StreamTableEnvironment.create(env)
    for name, function in functions.items():
        tables.create_temporary_function(name, function)
    for key, value in config.items():
        tables.get_config().set(key, value)
    # Uids are set below, because generated ones would change with the plan.
    tables.get_config().set("table.exec.uid.generation", "DISABLED")
    create_records_table(tables, kafka, topic, group, bounded=bounded, may_be_missing=may_be_missing)
    stream = tables.to_data_stream(tables.sql_query(f"SELECT {columns} FROM records"))
    transformation = stream._j_data_stream.getTransformation()  # noqa: SLF001
    transformation.setOutputType(row_type.get_java_type_info())
    set_uids(transformation, uid)
    return stream


def create_records_table(
    tables: StreamTableEnvironment,
    kafka: KafkaSettings,
    topic: str,
    group: str,
    *,
    bounded: bool = False,
    may_be_missing: bool = False,
) -> None:
    """Create the table `records` of a topic, from the earliest offset on.

    Its columns are k (key), v (value), ts (record timestamp), p (partition) and o (offset).
    """
    # If a topic is given by name and does not exist, the job fails when Flink discovers partitions. With a pattern that
    # matches nothing, it does not.
    source = (
        {"topic-pattern": topic.replace(".", "[.]"), "scan.topic-partition-discovery.interval": MISSING_LOOK_INTERVAL}
        if may_be_missing
        else {"topic": topic}
    )
    options = {
        "connector": "kafka",
        **source,
        **{f"properties.{name}": value for name, value in java_properties(kafka).items()},
        "properties.group.id": group,
        "scan.startup.mode": "earliest-offset",
        "format": "raw",
        "key.format": "raw",
        "key.fields": "k",
        "value.fields-include": "EXCEPT_KEY",
        **({"scan.bounded.mode": "latest-offset"} if bounded else {}),
    }
    listed = ", ".join(f"'{name}' = {_sql_text(value)}" for name, value in options.items())
    tables.execute_sql(
        "CREATE TEMPORARY TABLE records (k BYTES, v BYTES, ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, "
        "p INT METADATA FROM 'partition' VIRTUAL, o BIGINT METADATA FROM 'offset' VIRTUAL) "
        f"WITH ({listed})"
    )


def _sql_text(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def set_uids(transformation: Any, uid: str) -> None:
    """Give the source the uid, and the operators between the source and the stream uids derived from it."""
    *steps, source = upstream(transformation)
    for step, one in enumerate(steps):
        one.setUid(f"{uid}-step-{step}")
    source.setUid(uid)


def upstream(transformation: Any) -> Iterator[Any]:
    """A transformation and all those before it, up to the source, which is last. Each must have one input."""
    yield transformation
    while not (inputs := transformation.getInputs()).isEmpty():
        transformation = inputs.get(0)
        yield transformation


def discard(stream: DataStream, uid: str) -> None:
    """End a stream whose elements nobody needs. Flink requires a sink."""
    nowhere = get_gateway().jvm.org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink()
    stream._j_data_stream.sinkTo(nowhere).uid(uid).name("end")  # noqa: SLF001


def bytes_sink(kafka: KafkaSettings, topic: str) -> KafkaSink:
    """A sink that writes bytes as record values, at least once. Readers drop repeats by the origin in each value."""
    builder = KafkaSink.builder()
    for name, value in java_properties(kafka).items():
        builder.set_property(name, value)
    return (
        builder.set_bootstrap_servers(kafka.bootstrap_servers)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .set_property("max.request.size", str(DEAD_LETTER_BYTES_MAX))
        .set_record_serializer(
            KafkaRecordSerializationSchema.builder()
            .set_topic(topic)
            .set_value_serialization_schema(ByteArraySchema())
            .build()
        )
        .build()
    )


__all__ = [
    "MILLIS",
    "balanced_keys",
    "bytes_sink",
    "compacted_source",
    "create_records_table",
    "discard",
    "events_source",
    "key_by_first_field",
    "record_type",
    "records",
    "set_uids",
    "side_output",
    "upstream",
]
