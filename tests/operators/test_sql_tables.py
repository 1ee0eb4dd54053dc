"""What Flink plans for the benchmark's SQL that makes tables: it is as good as SQL gets, or the comparison is none."""

import pytest


@pytest.mark.usefixtures("flink_client")
def test_sql_that_makes_all_tables_reads_the_events_and_tells_their_ids_apart_once() -> None:
    from pyflink.table import EnvironmentSettings, TableEnvironment

    from benchmarks.contenders.sql_tables_job import build
    from benchmarks.inputs.columns import COLUMNS

    tables = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    explained = build(tables, "/tmp/events", "/tmp/tables").explain()
    plan = explained[explained.index("== Optimized Execution Plan ==") :]
    assert plan.count("TableSourceScan(") == 1
    by_id = [line.strip("+- ").split("(")[0] for line in plan.splitlines() if "groupBy=[event_id" in line]
    assert by_id == ["HashAggregate", "LocalHashAggregate"]
    assert plan.count("Sink(") == len(COLUMNS)
