"""Packs an ordinary topic, one event in a record, into `view-events`, for producers that know nothing of salts.

Submitted by `flink run -py jobs/pack_events.py`; settings come from VIEW_COUNTS_PACK_* in the environment. At least
once: a record that is packed again is the same event again, which the count job drops.
"""

import json
import sys
from pathlib import Path

from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import DataTypes
from pyflink.table.udf import udf

from connectors.flink_kafka import MILLIS, discard, records
from jobs.submission import check_flink_or_exit, check_topics_or_exit, settings_or_exit, without_credentials
from jobs.uids import PackEventsUid as Uid
from settings import Settings
from udfs.logic.single_events import packer_of
from udfs.operators.pack import Pack

JOB_NAME = "pack-events"


def build(env: StreamExecutionEnvironment, settings: Settings, writer_schema: dict[str, object] | None) -> None:
    """Add the graph."""
    pack = udf(Pack(without_credentials(settings), writer_schema), result_type=DataTypes.BIGINT(), func_type="pandas")
    packed = records(
        env,
        settings.kafka,
        settings.pack.source_topic,
        Uid.SOURCE,
        f"pack(v, p, o, {MILLIS}) AS n",
        Types.ROW_NAMED(["n"], [Types.LONG()]),
        group="view-counts-pack",
        functions={"pack": pack},
        config={
            "python.fn-execution.arrow.batch.size": str(settings.pack.records_at_once),
            "python.fn-execution.bundle.size": str(settings.pack.records_at_once),
        },
    )
    discard(packed, Uid.END)


def writer_schema_or_exit(settings: Settings) -> dict[str, object] | None:
    """The schema in the settings' file. Exits with a line when there is none in it, or the framing knows no schemas."""
    path = settings.pack.schema_file
    if path is None:
        return None
    try:
        schema: dict[str, object] = json.loads(Path(path).read_text())
        packer_of(settings.pack.framing, "", 1, 1, schema)
    # Whatever a file or a schema can be wrong by.
    except Exception as error:
        sys.exit(f"refused: VIEW_COUNTS_PACK_SCHEMA_FILE={path}: {type(error).__name__}: {error}")
    return schema


def main() -> None:
    """Submit the job and return."""
    settings = settings_or_exit()
    writer_schema = writer_schema_or_exit(settings)
    check_topics_or_exit(settings)
    env = StreamExecutionEnvironment.get_execution_environment()
    check_flink_or_exit(env, settings)
    env.set_max_parallelism(settings.counting.max_parallelism)
    build(env, settings, writer_schema)
    env.execute_async(JOB_NAME)


if __name__ == "__main__":
    main()
