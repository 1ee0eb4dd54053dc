"""Counts minutes in Flink SQL's batch mode: each event id once, by video, kind and minute.

It reads Avro files of plain events in the object store, and writes Avro files of minutes. There are two ways to count
each id once: `distinct` rows that are then counted, or COUNT(DISTINCT event_id). Submit it by
`flink run -py benchmarks/contenders/sql_batch_job.py`. All of it runs in the JVM, and the command waits for its end.
"""

import argparse

from pyflink.table import EnvironmentSettings, TableEnvironment

MINUTE_MS = 60_000
COUNTS = {
    "distinct": f"""
        SELECT video_id, kind, viewed_at / {MINUTE_MS}, COUNT(*) FROM (
            SELECT DISTINCT event_id, video_id, kind, viewed_at FROM events
        ) GROUP BY video_id, kind, viewed_at / {MINUTE_MS}""",
    "count-distinct": f"""
        SELECT video_id, kind, viewed_at / {MINUTE_MS}, COUNT(DISTINCT event_id)
        FROM events GROUP BY video_id, kind, viewed_at / {MINUTE_MS}""",
}


def main() -> None:
    """Run the job to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", required=True, help="The folder of Avro files to read.")
    parser.add_argument("--minutes", required=True, help="The folder of Avro files to write.")
    parser.add_argument("--dedup", choices=tuple(COUNTS), required=True)
    arguments = parser.parse_args()
    tables = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    tables.get_config().set("execution.batch.adaptive.auto-parallelism.enabled", "false")
    tables.execute_sql(
        "CREATE TEMPORARY TABLE events (event_id BYTES NOT NULL, video_id STRING NOT NULL, viewed_at BIGINT NOT NULL, "
        "kind STRING NOT NULL) "
        f"WITH ('connector' = 'filesystem', 'path' = '{arguments.events}', 'format' = 'avro')"
    )
    tables.execute_sql(
        "CREATE TEMPORARY TABLE minutes (video_id STRING, kind STRING, at_minute BIGINT, `views` BIGINT) "
        f"WITH ('connector' = 'filesystem', 'path' = '{arguments.minutes}', 'format' = 'avro', 'avro.codec' = 'null')"
    )
    tables.execute_sql(f"INSERT INTO minutes {COUNTS[arguments.dedup]}").wait()


if __name__ == "__main__":
    main()
