"""The count job itself, with Cassandra or a discarding sink: `flink run -py benchmarks/contenders/count_job.py`."""

import argparse

from pyflink.datastream import FlatMapFunction, RuntimeContext, StreamExecutionEnvironment

from benchmarks.inputs.names import COUNTED_GAUGE
from connectors.flink_kafka import balanced_keys
from jobs.view_counts import build, inputs
from settings import Settings
from udfs.operators.cassandra_sink import CassandraSink
from udfs.operators.elements import Changes


class DiscardingSink(FlatMapFunction):
    """Accepts the same elements as the Cassandra sink. Keeps only the ledger's number of counted events, as a gauge."""

    def open(self, runtime_context: RuntimeContext) -> None:
        """Register the gauge."""
        self._counted: dict[tuple[int, int], int] = {}
        runtime_context.get_metrics_group().gauge(COUNTED_GAUGE, lambda: sum(self._counted.values()))

    def flat_map(self, value: object) -> tuple[()]:
        """Drop the element, but keep its tallies. The last tally of each minute and salt is the right one."""
        if isinstance(value, Changes):
            self._counted.update(((salt, tally.minute), tally.counted) for salt, tally in value.tallies)
        return ()


def main() -> None:
    """Submit the job and return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--sink", choices=("discard", "cassandra"), required=True)
    parser.add_argument("--enrich", action="store_true", help="Join video metadata, as the product does.")
    parser.add_argument("--keyspace", help="The keyspace in Cassandra; by default that of the settings.")
    arguments = parser.parse_args()
    base = Settings()
    settings = base.model_copy(
        update={
            "kafka": base.kafka.model_copy(update={"events_topic": arguments.topic}),
            "cassandra": base.cassandra.model_copy(update={"keyspace": arguments.keyspace or base.cassandra.keyspace}),
            "job": base.job.model_copy(update={"enrichment": arguments.enrich}),
        }
    )
    rules = settings.counting
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_max_parallelism(rules.max_parallelism)
    salt_keys = balanced_keys(rules.salts, rules.max_parallelism)
    shard_keys = balanced_keys(rules.shards, rules.max_parallelism)
    if arguments.sink == "discard":
        sink: FlatMapFunction = DiscardingSink()
    else:
        sink = CassandraSink(settings.cassandra, shard_keys, hands_on=arguments.enrich)
    build(settings, inputs(env, settings, salt_keys), salt_keys=salt_keys, shard_keys=shard_keys, sink=sink)
    env.execute_async(f"count job to {arguments.sink}")


if __name__ == "__main__":
    main()
