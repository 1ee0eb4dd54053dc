"""Copies every record of the events topic to the object store, each once: Avro files by hour of arrival and partition.

Submitted by `flink run -py jobs/archive_events.py`; settings come from VIEW_COUNTS_ARCHIVE_* in the environment. All of
it runs in the JVM. A file appears when the checkpoint that ends it is complete. What a restore from an older savepoint
copies again is the same record in another file, by (partition, offset), and readers drop it (udfs.stores.archive).
"""

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from connectors.flink_kafka import MILLIS, create_records_table
from jobs.submission import INTERVAL, check_flink_or_exit, check_topics_or_exit, mark_archive_or_exit, settings_or_exit
from schemas.jobs import ARCHIVE
from settings import Settings

GROUP = "view-counts-archive"
# A record may lack a key or a value; all else it always has.
_COLUMNS = (
    "kafka_offset BIGINT NOT NULL, record_ms BIGINT NOT NULL, record_key BYTES, record_value BYTES, "
    "arrival_day STRING NOT NULL, arrival_hour STRING NOT NULL, kafka_partition INT NOT NULL"
)
_SELECT = f"o, {MILLIS}, k, v, DATE_FORMAT(ts, 'yyyy-MM-dd'), DATE_FORMAT(ts, 'HH'), p"
_CONFIG = {
    "pipeline.name": ARCHIVE.name,
    # Hours of arrival are UTC.
    "table.local-time-zone": "UTC",
    # By place in the plan, which has had one shape.
    "table.exec.uid.generation": "ALWAYS",
}


def build(env: StreamExecutionEnvironment, settings: Settings) -> StreamTableEnvironment:
    """The tables; what remains is to insert."""
    tables = StreamTableEnvironment.create(env)
    for key, value in _CONFIG.items():
        tables.get_config().set(key, value)
    create_records_table(tables, settings.kafka, settings.kafka.events_topic, GROUP)
    tables.execute_sql(
        f"CREATE TEMPORARY TABLE archive ({_COLUMNS}) PARTITIONED BY (arrival_day, arrival_hour, kafka_partition) "
        f"WITH ('connector' = 'filesystem', 'path' = '{settings.archive.path}', 'format' = 'avro', "
        f"'avro.codec' = '{settings.archive.codec}')"
    )
    return tables


def main() -> None:
    """Submit the job and return."""
    settings = settings_or_exit()
    check_topics_or_exit(settings)
    mark_archive_or_exit(settings)
    env = StreamExecutionEnvironment.get_execution_environment()
    check_flink_or_exit(env, settings)
    configuration = Configuration()
    configuration.set_string(INTERVAL, f"{settings.archive.roll_ms} ms")
    env.configure(configuration)
    env.set_max_parallelism(settings.counting.max_parallelism)
    build(env, settings).execute_sql(f"INSERT INTO archive SELECT {_SELECT} FROM records")


if __name__ == "__main__":
    main()
