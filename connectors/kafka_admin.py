"""Creates the Kafka topics of schemas.topics. Plain: knows no Flink and reads or writes no records."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, TopicMetadata  # type: ignore[attr-defined]

from schemas.topics import topics
from settings import Settings

TIMEOUT_S = 30.0


class TopicMismatchError(RuntimeError):
    """A topic is missing, or the events topic has other partitions than the settings say: salts would lie elsewhere."""


def ensure_topics(bootstrap_servers: str, settings: Settings | None = None) -> None:
    """Create the topics that are missing; those that exist stay as they are.

    Raises TopicMismatchError when the events topic exists with another number of partitions, and
    confluent_kafka.KafkaException when Kafka does not answer within 30 s or refuses.
    """
    settings = settings or Settings()
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    wanted = topics(settings)
    created = admin.create_topics(
        [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=settings.kafka.replication_factor,
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
    # A broker may hear of a new topic a moment later than this.
    _check_partitions(admin.list_topics(timeout=TIMEOUT_S).topics, settings)


def check_topics(bootstrap_servers: str, settings: Settings) -> None:
    """Raises TopicMismatchError unless every topic exists, the events topic with the settings' number of partitions.

    And confluent_kafka.KafkaException when Kafka does not answer within 30 s.
    """
    there = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=TIMEOUT_S).topics
    missing = [topic.name for topic in topics(settings) if topic.name not in there]
    if missing:
        raise TopicMismatchError(f"topic {', '.join(missing)} does not exist; create the topics (docs/operations.md)")
    _check_partitions(there, settings)


def _check_partitions(there: Mapping[str, TopicMetadata], settings: Settings) -> None:
    events, partitions = settings.kafka.events_topic, settings.kafka.partitions
    found = len(there[events].partitions) if events in there else partitions
    if found != partitions:
        raise TopicMismatchError(
            f"topic {events} has {found} partitions, but kafka.partitions={partitions}: a salt lives in one partition "
            "for ever, salt mod partitions; set VIEW_COUNTS_KAFKA_PARTITIONS to the topic's number"
        )


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
