"""Counts in Flink SQL: deduplicates by event id, and counts by video, kind and minute.

There are two ways to deduplicate, each with the count job's lateness as the delay of the watermark:

`window`: takes the first event of each id in a one-minute window (ROW_NUMBER over the window TVF). The state ends with
    the window. A repeat with a time in another minute counts again.
`ttl`: takes the first event of each id while its state lives (ROW_NUMBER by processing time, with a state TTL of one
    generation), then the windows. The TTL goes by the wall clock, so a repeat after an outage counts again.
COUNT(DISTINCT event_id) in the window would be a third way, but Flink 2.3 has no plan for it on these columns.

Submit it by `flink run -Dstate.backend.type=... -py benchmarks/contenders/sql_job.py`. All of it runs in the JVM.
"""

import argparse

from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import Schema, StreamTableEnvironment

from settings import Settings

MINUTE_MS = 60_000
ROWTIME = "TO_TIMESTAMP_LTZ(viewed_at, 3)"
DEDUPS = {
    "window": """
        SELECT video_id, kind, window_start, COUNT(*) AS `views` FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, event_id ORDER BY ts) AS n
            FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        ) WHERE n = 1 GROUP BY video_id, kind, window_start, window_end""",
    "ttl": """
        SELECT video_id, kind, window_start, COUNT(*) AS `views` FROM TABLE(TUMBLE((
            SELECT video_id, kind, ts FROM (
                SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY PROCTIME()) AS n FROM events
            ) WHERE n = 1
        ), DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY video_id, kind, window_start, window_end""",
}


def _options(**options: str) -> str:
    return ", ".join(f"'{name.replace('__', '.').replace('_', '-')}' = '{value}'" for name, value in options.items())


def main() -> None:
    """Submit the job and return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--input", choices=("single", "batches"), required=True)
    parser.add_argument("--dedup", choices=tuple(DEDUPS), required=True)
    parser.add_argument(
        "--results-topic", help="Write counts as JSON to this topic, and end at the end of the events topic."
    )
    arguments = parser.parse_args()
    settings = Settings()
    rules = settings.counting

    tables = StreamTableEnvironment.create(StreamExecutionEnvironment.get_execution_environment())
    config = tables.get_config()
    config.set("pipeline.object-reuse", "true")
    config.set("table.exec.mini-batch.enabled", "true")
    config.set("table.exec.mini-batch.allow-latency", "1s")
    config.set("table.exec.mini-batch.size", "20000")
    if arguments.dedup == "ttl":
        config.set("table.exec.state.ttl", f"{rules.generation_ms} ms")

    kafka = {"connector": "kafka", "properties__bootstrap__servers": settings.kafka.bootstrap_servers}
    source = _options(
        **kafka, topic=arguments.topic, scan__startup__mode="earliest-offset", format="avro",
        **({"scan__bounded__mode": "latest-offset"} if arguments.results_topic else {}),
    )  # fmt: skip
    event = "event_id BYTES NOT NULL, video_id STRING NOT NULL, viewed_at BIGINT NOT NULL, kind STRING NOT NULL"
    watermark = f"ts - INTERVAL '{rules.lateness_ms // MINUTE_MS}' MINUTE"
    if arguments.input == "single":
        tables.execute_sql(
            f"CREATE TEMPORARY TABLE events ({event}, ts AS {ROWTIME}, WATERMARK FOR ts AS {watermark}) WITH ({source})"
        )
    else:
        tables.execute_sql(
            f"CREATE TEMPORARY TABLE batches (events ARRAY<ROW<{event}> NOT NULL> NOT NULL) WITH ({source})"
        )
        unpacked = tables.sql_query(
            f"SELECT event_id, video_id, kind, {ROWTIME} AS ts FROM batches "
            "CROSS JOIN UNNEST(events) AS e (event_id, video_id, viewed_at, kind)"
        )
        # The watermark of a table cannot be on a field inside an array.
        stream = tables.to_data_stream(unpacked)
        schema = (
            Schema.new_builder()
            .column("event_id", "BYTES NOT NULL").column("video_id", "STRING NOT NULL")
            .column("kind", "STRING NOT NULL").column("ts", "TIMESTAMP_LTZ(3)").watermark("ts", watermark)
            .build()
        )  # fmt: skip
        tables.create_temporary_view("events", stream, schema)

    if arguments.results_topic:
        sink = _options(**kafka, topic=arguments.results_topic, format="json")
    else:
        sink = _options(connector="blackhole")
    tables.execute_sql(
        "CREATE TEMPORARY TABLE results (video_id STRING, kind STRING, minute_at TIMESTAMP(3), `views` BIGINT) "
        f"WITH ({sink})"
    )
    tables.execute_sql(f"INSERT INTO results {DEDUPS[arguments.dedup]}")


if __name__ == "__main__":
    main()
