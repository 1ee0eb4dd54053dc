"""The count job itself, to Cassandra or to a sink that discards: `flink run -py benchmarks/contenders/count_job.py`."""

import argparse

from pyflink.datastream import FlatMapFunction, RuntimeContext, StreamExecutionEnvironment

from benchmarks.names import COUNTED_GAUGE
from connectors.flink_kafka import balanced_keys, events_source
from jobs.uids import ViewCountsUid as Uid
from jobs.view_counts import build
from settings import Settings
from udfs.operators.cassandra_sink import CassandraSink
from udfs.operators.window import Changes


class DiscardingSink(FlatMapFunction):
    """Takes what the Cassandra sink takes and keeps only the ledger's count of events, as a gauge."""

    def open(self, runtime_context: RuntimeContext) -> None:
        """Register the gauge."""
        self._counted: dict[tuple[int, int], int] = {}
        runtime_context.get_metrics_group().gauge(COUNTED_GAUGE, lambda: sum(self._counted.values()))

    def flat_map(self, value: object) -> tuple[()]:
        """Forget the element, unless it is a tally: the last one of each minute and salt is the right one."""
        if isinstance(value, Changes):
            self._counted.update(((salt, tally.minute), tally.counted) for salt, tally in value.tallies)
        return ()


def main() -> None:
    """Submit the job and return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--sink", choices=("discard", "cassandra"), required=True)
    parser.add_argument("--keyspace", help="Of Cassandra; the settings' own when it is left out.")
    arguments = parser.parse_args()
    base = Settings()
    settings = base.model_copy(
        update={
            "kafka": base.kafka.model_copy(update={"events_topic": arguments.topic}),
            "cassandra": base.cassandra.model_copy(update={"keyspace": arguments.keyspace or base.cassandra.keyspace}),
        }
    )
    rules = settings.counting
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_max_parallelism(rules.max_parallelism)
    salt_keys = balanced_keys(rules.salts, rules.max_parallelism)
    events = events_source(env, settings.kafka, salt_keys, Uid.EVENTS_SOURCE)
    if arguments.sink == "discard":
        sink: FlatMapFunction = DiscardingSink()
    else:
        sink = CassandraSink(settings.cassandra, rules.shards)
    build(settings, events=events, salt_keys=salt_keys, sink=sink)
    env.execute_async(f"count job to {arguments.sink}")


if __name__ == "__main__":
    main()
