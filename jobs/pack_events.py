"""The pack job: reads a topic with one event in each record, and packs the events into batches on `view-events`.

It serves producers that know nothing of salts. Submit it by `flink run -py jobs/pack_events.py`; its settings come from
VIEW_COUNTS_PACK_* in the environment. It writes each event at least once; the count job drops the repeats.
"""

import json
import sys
from pathlib import Path

from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import DataTypes
from pyflink.table.udf import udf

from connectors.flink_kafka import MILLIS, discard, records
from connectors.flink_ticks import each_second
from jobs.submission import (
    check_flink_or_exit,
    check_topics_or_exit,
    job_environment,
    settings_or_exit,
    without_credentials,
)
from jobs.uids import PackEventsUid as Uid
from schemas.jobs import PACK
from settings import Settings
from udfs.logic.wire.single_events import (
    OWN,
    OWN_SCHEMAS,
    Unknown,
    WriterSchema,
    own_schema,
    packer_of,
)
from udfs.operators.pack import Heartbeats, Pack


def build(env: StreamExecutionEnvironment, settings: Settings, schemas: list[WriterSchema]) -> None:
    """Add the graph to the environment. `schemas` are those of `schemas_or_exit`."""
    plain = without_credentials(settings)
    pack = udf(Pack(plain, schemas), result_type=DataTypes.BIGINT(), func_type="pandas")
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
    if settings.pack.heartbeats:
        beat = udf(Heartbeats(plain), result_type=DataTypes.BIGINT())
        discard(each_second(env, beat, Uid.TICKS), Uid.HEARTBEATS_END)


def schemas_or_exit(settings: Settings) -> list[WriterSchema]:
    """The Avro schemas that the settings name. Exits with a line if a file cannot be read or its schema is not usable.

    No names mean the product's own schema, ViewEvent.v1.
    """
    pack = settings.pack
    found = []
    file = ""
    try:
        for number, file in pack.schema_files:
            schema = own_schema(file) if file in OWN_SCHEMAS else json.loads(Path(file).read_text())
            found.append(WriterSchema(schema, number))
        found = found or [OWN]
        packer_of(pack.framing, "", 1, 1, found, Unknown(pack.unknown_fields))
    # A file and a schema can be wrong in many ways, and each library raises its own errors.
    except Exception as error:
        sys.exit(f"refused: VIEW_COUNTS_PACK_SCHEMA_FILE={pack.schema_file}: {file}: {type(error).__name__}: {error}")
    return found


def main() -> None:
    """Submit the job and return."""
    settings = settings_or_exit()
    schemas = schemas_or_exit(settings)
    check_topics_or_exit(settings)
    env = job_environment()
    check_flink_or_exit(env, settings)
    env.set_max_parallelism(settings.counting.max_parallelism)
    build(env, settings, schemas)
    env.execute_async(PACK.name)


if __name__ == "__main__":
    main()
