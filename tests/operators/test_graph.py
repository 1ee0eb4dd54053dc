"""The count job's graph: every operator has its uid, uids are for ever, and keys are spread evenly."""

from collections import Counter
from typing import Any

import pytest

from jobs.uids import PackEventsUid, ViewCountsUid
from settings import CountingSettings, JobSettings, Settings

# PyFlink's own, and its dependencies'.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# Every uid that a savepoint may hold, in the order of its first use. Append only.
PUBLISHED = [
    "view-counts-events-source",
    "view-counts-dedup",
    "view-counts-window",
    "view-counts-cassandra-sink",
    "view-counts-late-sink",
    "view-counts-dead-letter-sink",
    "view-counts-end",
    "view-counts-metadata-source",
    "view-counts-metadata",
    "view-counts-metadata-dead-letter-sink",
    "view-counts-enrich",
    "view-counts-blocked-source",
    "view-counts-blocked",
    "view-counts-blocked-dead-letter-sink",
]
# What Flink itself derives from ours: the SQL steps behind the source, and the second half of a Kafka sink.
SOURCES = {ViewCountsUid.EVENTS_SOURCE: 3, ViewCountsUid.BLOCKED_SOURCE: 2, ViewCountsUid.METADATA_SOURCE: 2}
SINKS = (
    ViewCountsUid.LATE_SINK,
    ViewCountsUid.DEAD_LETTER_SINK,
    ViewCountsUid.BLOCKED_DEAD_LETTER_SINK,
    ViewCountsUid.METADATA_DEAD_LETTER_SINK,
)
DERIVED = [f"{source}-step-{step}" for source, steps in SOURCES.items() for step in range(steps)] + [
    f"Sink Committer: {sink}" for sink in SINKS
]


def test_published_uids_stay() -> None:
    assert [str(uid) for uid in ViewCountsUid][: len(PUBLISHED)] == PUBLISHED


def environment_of(settings: Settings) -> Any:
    """A stream environment that the count job has been added to, as `flink run` would."""
    from pyflink.datastream import StreamExecutionEnvironment

    from connectors.flink_kafka import balanced_keys
    from jobs import view_counts
    from udfs.operators.cassandra_sink import CassandraSink

    rules = settings.counting
    env = StreamExecutionEnvironment.get_execution_environment()
    keys = balanced_keys(rules.salts, rules.max_parallelism)
    shard_keys = balanced_keys(rules.shards, rules.max_parallelism)
    sink = CassandraSink(settings.cassandra, shard_keys, hands_on=True)
    read = view_counts.inputs(env, settings, keys)
    view_counts.build(settings, read, salt_keys=keys, shard_keys=shard_keys, sink=sink)
    return env


def stream_nodes(settings: Settings | None = None) -> list[Any]:
    """The operators of the count job, chained as PyFlink chains them."""
    env = environment_of(settings or Settings())
    return list(env._generate_stream_graph(False, "test").getStreamNodes().toArray())


@pytest.mark.usefixtures("flink_client")
def test_every_operator_has_a_uid_of_its_own() -> None:
    uids = [(node.getOperatorName(), node.getTransformationUID()) for node in stream_nodes()]
    assert [name for name, uid in uids if uid is None] == []
    # The sink is fused with the window before it, whose uid the two keep.
    fused = {str(ViewCountsUid.CASSANDRA_SINK)}
    assert sorted(uid for _, uid in uids) == sorted({*ViewCountsUid, *DERIVED} - fused)


@pytest.mark.usefixtures("flink_client")
def test_every_operator_of_the_packing_job_has_a_uid_of_its_own() -> None:
    from pyflink.datastream import StreamExecutionEnvironment

    from jobs import pack_events

    env = StreamExecutionEnvironment.get_execution_environment()
    pack_events.build(env, Settings(), [])
    nodes = list(env._generate_stream_graph(False, "test").getStreamNodes().toArray())
    uids = [node.getTransformationUID() for node in nodes]
    assert None not in uids
    assert len(set(uids)) == len(uids)
    assert set(PackEventsUid) <= set(uids)
    assert [str(uid) for uid in PackEventsUid] == [
        "pack-events-source",
        "pack-events-end",
        "pack-events-ticks",
        "pack-events-heartbeats-end",
    ]


@pytest.mark.usefixtures("flink_client")
def test_stages_have_the_parallelism_that_settings_give_them_and_the_sink_stays_fused() -> None:
    settings = Settings(job=JobSettings(dedup_parallelism=4, window_parallelism=2))
    found = {node.getTransformationUID(): node.getParallelism() for node in stream_nodes(settings)}
    assert found[ViewCountsUid.DEDUP] == 4
    assert found[ViewCountsUid.WINDOW] == found[ViewCountsUid.ENRICH] == 2
    assert found[ViewCountsUid.METADATA] == found[ViewCountsUid.BLOCKED] == 1
    assert ViewCountsUid.CASSANDRA_SINK not in found, "it keeps the window's uid while it is fused with it"


@pytest.mark.usefixtures("flink_client")
def test_a_check_says_how_many_slots_the_job_needs_and_submits_nothing() -> None:
    """The widest operator decides, since all share slots; the two readers of compacted topics are one wide."""
    from jobs.submission import slots_needed

    env = environment_of(Settings(job=JobSettings(dedup_parallelism=4, window_parallelism=2)))
    assert slots_needed(env, "test") == 4


@pytest.mark.usefixtures("flink_client")
def test_subtasks_get_equal_shares_of_the_keys() -> None:
    from pyflink.java_gateway import get_gateway

    from connectors.flink_kafka import balanced_keys

    jvm = get_gateway().jvm
    assign = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignKeyToParallelOperator
    selector = jvm.KeyByKeySelector()

    def flink_key(key: int) -> Any:
        element = jvm.org.apache.flink.types.Row(2)
        element.setField(0, key)
        return selector.getKey(element)

    rules = CountingSettings()
    for count in (rules.salts, rules.shards, 4, 64):
        keys = balanced_keys(count, rules.max_parallelism)
        assert len(set(keys)) == count
        for parallelism in (1, 2, 4, 8):
            shares = Counter(assign(flink_key(key), rules.max_parallelism, parallelism) for key in keys)
            assert set(shares.values()) == {max(1, count // parallelism)}, (count, parallelism, shares)


@pytest.mark.usefixtures("flink_client")
def test_keys_are_those_that_savepoints_hold() -> None:
    from connectors.flink_kafka import balanced_keys

    assert balanced_keys(8, 128) == [250, 299, 13, 238, 22, 8, 113, 101]
    assert balanced_keys(16, 128) == [250, 295, 299, 95, 13, 55, 238, 16, 22, 239, 8, 44, 113, 3, 101, 29]


@pytest.mark.usefixtures("flink_client")
@pytest.mark.parametrize("batch", [False, True])
def test_no_key_of_the_object_store_travels_with_a_job(monkeypatch: pytest.MonkeyPatch, batch: bool) -> None:
    """The JobManager keeps the settings of a job's graph in the object store."""
    from pyflink.common import Configuration
    from pyflink.datastream import StreamExecutionEnvironment

    from jobs.submission import batch_environment, job_environment

    def settings_of(env: Any) -> dict[str, str]:
        env.from_collection([1]).print()
        return dict(env._generate_stream_graph(False, "test").getJobConfiguration().toMap())

    # As `flink run` hands it over.
    client = Configuration()
    for name, value in {"s3.access-key": "a", "s3.secret-key": "s3cret", "fs.s3a.secret.key": "s3cret"}.items():
        client.set_string(name, value)
    client.set_string("execution.checkpointing.interval", "5s")
    given = StreamExecutionEnvironment.get_execution_environment
    assert settings_of(given(client))["s3.secret-key"] == "s3cret"
    monkeypatch.setattr(StreamExecutionEnvironment, "get_execution_environment", lambda: given(client))
    found = settings_of(batch_environment() if batch else job_environment())
    assert [name for name, value in found.items() if "s3" in name or value == "s3cret"] == []
    assert "execution.checkpointing.interval" in found
