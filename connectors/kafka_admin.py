"""Creates the topics of schemas.topics, describes and alters them. Plain: knows no Flink."""

from collections.abc import Collection, Iterable

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.topic_differences import Seen
from schemas.topics import Topic

TIMEOUT_S = 30.0


class TopicMismatchError(RuntimeError):
    """Kafka has other topics than the product needs; a line for each difference."""


def create_topics(bootstrap_servers: str, wanted: Iterable[Topic], replication_factor: int) -> None:
    """Create the topics that are missing; those that exist stay as they are.

    Raises confluent_kafka.KafkaException when Kafka does not answer within 30 s or refuses.
    """
    # Held by a name: a client that nobody holds takes its requests with it.
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    created = admin.create_topics(
        [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=replication_factor,
                config=topic.config,
            )
            for topic in wanted
        ],
        operation_timeout=TIMEOUT_S,
        request_timeout=TIMEOUT_S,
    )
    for future in created.values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def describe_topics(bootstrap_servers: str, names: Collection[str], timeout_s: float = TIMEOUT_S) -> dict[str, Seen]:
    """Those of these topics that exist. Asks as an administrator does, which makes no topic.

    Raises confluent_kafka.KafkaException when Kafka does not answer in time or forbids to look (the rights Describe and
    DescribeConfigs of a topic are needed).
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    described = admin.describe_topics(TopicCollection(list(names)), request_timeout=timeout_s)
    there = {}
    for name, future in described.items():
        try:
            there[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    if not there:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in there]
    configs = {
        resource.name: {entry.name: entry.value for entry in future.result().values()}
        for resource, future in admin.describe_configs(resources, request_timeout=timeout_s).items()
    }
    return {
        name: Seen(
            len(topic.partitions),
            min((len(partition.replicas) for partition in topic.partitions), default=0),
            "" if topic.topic_id is None else str(topic.topic_id),
            {key: value for key, value in configs[name].items() if value is not None},
        )
        for name, topic in there.items()
    }


def alter_topics(bootstrap_servers: str, changes: Iterable[tuple[str, str, str]]) -> None:
    """Set configurations, each (topic, name, value), and leave all others.

    Raises confluent_kafka.KafkaException when Kafka does not answer within 30 s or refuses.
    """
    by_topic: dict[str, list[ConfigEntry]] = {}
    for topic, name, value in changes:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        by_topic.setdefault(topic, []).append(entry)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=e) for topic, e in by_topic.items()]
    if not resources:
        return
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for future in admin.incremental_alter_configs(resources, request_timeout=TIMEOUT_S).values():
        future.result()


def kept_ms(bootstrap_servers: str, topic: str) -> int | None:
    """How long the broker keeps what is written to a topic, its retention and a segment: -1 for good.

    None where there is no such topic. Raises confluent_kafka.KafkaException when Kafka does not answer within 30 s.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        found = admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    retention_ms, segment_ms = (int(found[name].value) for name in ("retention.ms", "segment.ms"))
    is_deleted = "delete" in found["cleanup.policy"].value
    return retention_ms + segment_ms if is_deleted and retention_ms >= 0 else -1


def topic_id(bootstrap_servers: str, topic: str) -> str:
    """Kafka's own id of a topic, which another one of the same name does not have; "" where the broker gives none.

    Raises TopicMismatchError when there is no such topic, confluent_kafka.KafkaException when Kafka does not answer
    within 30 s.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    future = admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)[topic]
    try:
        found = future.result().topic_id
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicMismatchError(f"topic {topic} does not exist; create the topics (docs/operations.md)") from error
        raise
    return "" if found is None else str(found)
