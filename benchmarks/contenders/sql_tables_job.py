"""Counts five tables of history in Flink SQL's batch mode: minutes, hours, days, countries by hour, viewers of a day.

It reads Avro files of events with viewers in the object store, and writes a folder of Avro files for each table. Submit
it by `flink run -py benchmarks/contenders/sql_tables_job.py`. All of it runs in the JVM, and the command waits for its
end.

It reads files once and removes repeated ids once for all tables: all INSERTs are one statement set, and the view `once`
is one block of its plan. A day is the sum of its hours, and an hour the sum of its minutes.
"""

import argparse

from pyflink.table import EnvironmentSettings, StatementSet, TableEnvironment

from benchmarks.inputs.columns import COLUMNS

OPTIONS = {
    "execution.batch.adaptive.auto-parallelism.enabled": "false",
    # Without this, the condition of the table of viewers would be pushed below `once`, which would then run twice.
    "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
}
VIEWS = {
    "once": "SELECT DISTINCT event_id, video_id, kind, viewed_at, viewer_id, country FROM events",
    "by_minute": """
        SELECT video_id, kind, viewed_at / 60000 AS at_minute, COUNT(*) AS counted
        FROM once GROUP BY video_id, kind, viewed_at / 60000""",
    "by_hour": """
        SELECT video_id, kind, at_minute / 60 AS at_hour, SUM(counted) AS counted
        FROM by_minute GROUP BY video_id, kind, at_minute / 60""",
}
TABLES = {
    "minutes": "SELECT video_id, kind, at_minute, counted FROM by_minute",
    "hours": "SELECT video_id, kind, at_hour, counted FROM by_hour",
    "days": "SELECT video_id, kind, at_hour / 24, SUM(counted) FROM by_hour GROUP BY video_id, kind, at_hour / 24",
    "countries": """
        SELECT video_id, kind, COALESCE(country, ''), viewed_at / 3600000, COUNT(*)
        FROM once GROUP BY video_id, kind, COALESCE(country, ''), viewed_at / 3600000""",
    "viewers": """
        SELECT video_id, kind, viewed_at / 86400000, COUNT(DISTINCT viewer_id)
        FROM once WHERE viewer_id IS NOT NULL GROUP BY video_id, kind, viewed_at / 86400000""",
}


def build(tables: TableEnvironment, events: str, folder: str) -> StatementSet:
    """All INSERTs, from the files in `events` to files in `folder`."""
    for option, value in OPTIONS.items():
        tables.get_config().set(option, value)
    tables.execute_sql(
        "CREATE TEMPORARY TABLE events (event_id BYTES NOT NULL, video_id STRING NOT NULL, viewed_at BIGINT NOT NULL, "
        "kind STRING NOT NULL, viewer_id STRING, country STRING) "
        f"WITH ('connector' = 'filesystem', 'path' = '{events}', 'format' = 'avro')"
    )
    for name, query in VIEWS.items():
        tables.execute_sql(f"CREATE TEMPORARY VIEW {name} AS {query}")
    statements = tables.create_statement_set()
    for name, query in TABLES.items():
        columns = ", ".join(f"`{column}` {_type(column)}" for column in COLUMNS[name])
        tables.execute_sql(
            f"CREATE TEMPORARY TABLE {name} ({columns}) WITH ('connector' = 'filesystem', "
            f"'path' = '{folder}/{name}', 'format' = 'avro', 'avro.codec' = 'null')"
        )
        statements.add_insert_sql(f"INSERT INTO {name} {query}")
    return statements


def _type(column: str) -> str:
    return "STRING" if column in ("video_id", "kind", "country") else "BIGINT"


def main() -> None:
    """Run the job to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", required=True, help="The folder of Avro files to read.")
    parser.add_argument("--tables", required=True, help="The folder in which each table gets a folder of Avro files.")
    arguments = parser.parse_args()
    tables = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    build(tables, arguments.events, arguments.tables).execute().wait()


if __name__ == "__main__":
    main()
