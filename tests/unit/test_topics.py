"""What is promised of each topic, and how a difference from it is said."""

from dataclasses import replace

import pytest

from schemas.declaration import Declaration
from schemas.topic_differences import Difference, Seen, differences
from schemas.topics import Promise, topics
from settings import KafkaSettings, Settings

CLUSTER = Settings(kafka=KafkaSettings(replication_factor=3))
DECLARED = Declaration(16, 4, "id-1")


def seen(settings: Settings = CLUSTER) -> dict[str, Seen]:
    """As the product creates them."""
    replicas = settings.kafka.replication_factor
    return {one.name: Seen(one.partitions, replicas, "id-1", one.config) for one in topics(settings)}


def changed(topic: str, **config: str) -> list[Difference]:
    """What differs when a topic has another configuration; underscores stand for points."""
    there = seen()
    there[topic] = replace(
        there[topic], config={**there[topic].config, **{key.replace("_", "."): value for key, value in config.items()}}
    )
    return differences(CLUSTER, there, DECLARED)


def test_what_the_product_creates_differs_in_nothing() -> None:
    assert differences(CLUSTER, seen(), DECLARED) == []


@pytest.mark.parametrize(("factor", "in_sync"), [(1, "1"), (2, "2"), (3, "2"), (5, "2")])
def test_an_acknowledged_record_is_on_two_brokers_where_there_are_two(factor: int, in_sync: str) -> None:
    for topic in topics(Settings(kafka=KafkaSettings(replication_factor=factor))):
        if topic.needed:
            assert topic.config["min.insync.replicas"] == in_sync
            assert topic.config["unclean.leader.election.enable"] == "false"


def test_what_strangers_can_fill_has_a_bound_unless_the_setting_says_none() -> None:
    bounds = {one.name: one.config.get("retention.bytes") for one in topics(Settings())}
    bounded = {name for name, value in bounds.items() if value == str(8 << 30)}
    assert bounded == {"view-events-late", "view-events-dead-letter", "view-events-diverted"}
    free = Settings(kafka=KafkaSettings(rejected_bytes_max=-1))
    there = seen(free)
    assert there["view-events-late"].config["retention.bytes"] == "-1"
    assert differences(free, there, DECLARED) == []


@pytest.mark.parametrize(
    ("topic", "config", "said"),
    [
        ("view-events", {"message_timestamp_type": "CreateTime"}, "must be LogAppendTime"),
        ("view-events", {"min_insync_replicas": "1"}, "must be at least 2"),
        ("view-events", {"unclean_leader_election_enable": "true"}, "must be false"),
        ("view-events", {"cleanup_policy": "compact,delete"}, "must be delete"),
        ("view-events", {"retention_ms": "3600000"}, "must be at least 604800000"),
        ("view-events", {"retention_bytes": "1073741824"}, "must be -1"),
        ("view-events", {"max_message_bytes": "1048588"}, "must be at least 4194304"),
        ("view-events-dead-letter", {"max_message_bytes": "4194304"}, "must be at least 4259840"),
        ("blocked-viewers", {"cleanup_policy": "delete"}, "must be compact"),
    ],
)
def test_what_can_lose_a_count_is_refused(topic: str, config: dict[str, str], said: str) -> None:
    (found,) = changed(topic, **config)
    ((name, value),) = config.items()
    assert found.needed
    assert found.line.startswith(f"topic {topic}: {name.replace('_', '.')}={value} {said}")
    assert "python -m tools.ops topics mend" in found.line
    assert "\n" not in found.line
    assert found.name == f"{topic} {name.replace('_', '.')}={value}"


@pytest.mark.parametrize(
    ("topic", "config"),
    [
        ("view-events", {"retention_ms": "-1"}),
        ("view-events", {"max_message_bytes": "10485760"}),
        ("view-events", {"min_insync_replicas": "3"}),
        ("view-events", {"segment_ms": "3600000"}),
        ("view-events-late", {"retention_bytes": "1000000000"}),
    ],
)
def test_more_than_was_promised_is_no_difference(topic: str, config: dict[str, str]) -> None:
    assert changed(topic, **config) == []


@pytest.mark.parametrize(
    ("topic", "config"),
    [
        ("view-events", {"segment_ms": "604800000"}),
        ("view-events-late", {"retention_ms": "1"}),
        ("view-events-late", {"retention_bytes": "-1"}),
        ("view-events-dead-letter", {"retention_bytes": str((8 << 30) + 1)}),
        ("view-events-diverted", {"retention_bytes": "-1"}),
        ("view-counts", {"retention_ms": "1"}),
    ],
)
def test_what_harms_no_count_is_only_said(topic: str, config: dict[str, str]) -> None:
    (found,) = changed(topic, **config)
    assert not found.needed


def test_a_difference_that_was_accepted_by_name_is_none_until_it_changes() -> None:
    there = seen()
    declared = replace_accepts("view-events retention.bytes=1000")
    for value, expected in (("1000", 0), ("999", 1)):
        there["view-events"] = replace(
            there["view-events"], config={**there["view-events"].config, "retention.bytes": value}
        )
        assert len(differences(CLUSTER, there, declared)) == expected


def replace_accepts(*names: str) -> Declaration:
    """The declaration, which accepts these."""
    return Declaration(DECLARED.salts, DECLARED.partitions, DECLARED.topic_id, names)


def test_a_missing_topic_is_named_with_its_remedy_and_only_an_optional_one_may_miss() -> None:
    for topic in topics(CLUSTER):
        there = seen()
        del there[topic.name]
        (found,) = differences(CLUSTER, there, DECLARED)
        assert found.line.startswith(f"topic {topic.name} does not exist; create it: ")
        assert found.needed == (topic.name not in {"view-counts", "video-metadata", "view-events-diverted"})


def test_fewer_replicas_than_planned_are_refused() -> None:
    there = seen()
    there["view-events"] = replace(there["view-events"], replicas=1)
    (found,) = differences(CLUSTER, there, DECLARED)
    assert found.needed
    assert "VIEW_COUNTS_KAFKA_REPLICATION_FACTOR=3" in found.line


def test_salts_and_partitions_are_those_that_are_declared() -> None:
    (salts,) = differences(CLUSTER, seen(), Declaration(32, 4, "id-1"))
    assert salts.line.startswith("VIEW_COUNTS_COUNTING_SALTS=16, and 32 is declared")
    there = seen()
    there["view-events"] = replace(there["view-events"], partitions=8)
    (partitions,) = differences(CLUSTER, there, Declaration(16, 8, "id-1"))
    assert partitions.line.startswith("VIEW_COUNTS_KAFKA_PARTITIONS=4, and 8 is declared")
    assert salts.needed
    assert partitions.needed
    # Neither can be accepted.
    assert salts.name == partitions.name == ""


def test_nothing_declared_is_refused() -> None:
    (found,) = differences(CLUSTER, seen(), None)
    assert found.needed
    assert "python -m tools.stack.provision topics" in found.line


@pytest.mark.parametrize(("partitions", "needed"), [(8, False), (2, True)])
def test_partitions_that_were_added_stay_empty_and_missing_ones_are_refused(*, partitions: int, needed: bool) -> None:
    there = seen()
    there["view-events"] = replace(there["view-events"], partitions=partitions)
    (found,) = differences(CLUSTER, there, DECLARED)
    assert found.needed == needed


def test_a_topic_made_anew_has_another_id() -> None:
    there = seen()
    there["view-events"] = replace(there["view-events"], id="id-2")
    (found,) = differences(CLUSTER, there, DECLARED)
    assert found.needed
    assert "was made anew: its id is id-2, and id-1 is declared" in found.line
    assert differences(CLUSTER, seen(), Declaration(16, 4)) == []


def test_a_declaration_is_read_as_it_was_written_and_by_newer_fields_too() -> None:
    declared = Declaration(16, 4, "id", ("a b=c",))
    assert Declaration.decode(declared.encode()) == declared
    assert Declaration.decode(b'{"salts":16,"partitions":4,"later":1}') == Declaration(16, 4)


@pytest.mark.parametrize(
    ("rule", "value", "found", "kept"),
    [
        ("equal", "compact,delete", "delete,compact", True),
        ("at_least", "10", "9", False),
        ("at_least", "10", "-1", True),
        ("at_least", "-1", "10", False),
        ("at_most", "10", "-1", False),
        ("at_most", "10", "10", True),
    ],
)
def test_promises(*, rule: str, value: str, found: str, kept: bool) -> None:
    assert Promise("x", value, "why", rule).is_kept_by(found) == kept  # type: ignore[arg-type]
