"""The archive job: copies every record of the events topic once to the object store.

It writes Avro files, in a folder for each hour of arrival and Kafka partition. Submit it by
`flink run -py jobs/archive_events.py`; its settings come from VIEW_COUNTS_ARCHIVE_* in the environment. All of it runs
in the JVM. A file appears when the checkpoint that ends it is complete. After a restore from an older savepoint the job
copies some records again, into other files. Readers recognise them by (partition, offset) and drop them
(udfs.stores.archive).
"""

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from connectors.flink_kafka import MILLIS, create_records_table
from jobs.submission import (
    INTERVAL,
    check_flink_or_exit,
    check_topics_or_exit,
    job_environment,
    mark_archive_or_exit,
    settings_or_exit,
)
from schemas.jobs import ARCHIVE
from settings import Settings

GROUP = "view-counts-archive"
# A record may lack a key or a value. It always has the other columns.
_COLUMNS = (
    "kafka_offset BIGINT NOT NULL, record_ms BIGINT NOT NULL, record_key BYTES, record_value BYTES, "
    "arrival_day STRING NOT NULL, arrival_hour STRING NOT NULL, kafka_partition INT NOT NULL"
)
_SELECT = f"o, {MILLIS}, k, v, DATE_FORMAT(ts, 'yyyy-MM-dd'), DATE_FORMAT(ts, 'HH'), p"
_CONFIG = {
    "pipeline.name": ARCHIVE.name,
    # Hours of arrival are UTC.
    "table.local-time-zone": "UTC",
    # These uids follow the place of an operator in the plan, so the plan must keep its shape.
    "table.exec.uid.generation": "ALWAYS",
}


def build(env: StreamExecutionEnvironment, settings: Settings) -> StreamTableEnvironment:
    """Create the tables `records` and `archive`. The caller runs the INSERT that starts the job."""
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
    env = job_environment()
    check_flink_or_exit(env, settings)
    configuration = Configuration()
    configuration.set_string(INTERVAL, f"{settings.archive.roll_ms} ms")
    env.configure(configuration)
    env.set_max_parallelism(settings.counting.max_parallelism)
    build(env, settings).execute_sql(f"INSERT INTO archive SELECT {_SELECT} FROM records")


if __name__ == "__main__":
    main()
