"""A stream that ticks, for what a job must do even while no record arrives. Imports Flink."""

from pyflink.common import Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment
from pyflink.table.udf import UserDefinedFunctionWrapper

from connectors.flink_kafka import set_uids, upstream


def each_second(env: StreamExecutionEnvironment, function: UserDefinedFunctionWrapper, uid: str) -> DataStream:
    """A stream of the results of `function`, which is called with one number about once a second, in one subtask.

    The function returns a BIGINT.
    """
    tables = StreamTableEnvironment.create(env)
    tables.create_temporary_function("on_tick", function)
    tables.get_config().set("table.exec.uid.generation", "DISABLED")
    tables.execute_sql(
        "CREATE TEMPORARY TABLE ticks (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1')"
    )
    stream = tables.to_data_stream(tables.sql_query("SELECT on_tick(n) AS n FROM ticks"))
    transformation = stream._j_data_stream.getTransformation()  # noqa: SLF001
    transformation.setOutputType(Types.ROW_NAMED(["n"], [Types.LONG()]).get_java_type_info())
    set_uids(transformation, uid)
    for one in upstream(transformation):
        one.setParallelism(1)
    return stream
