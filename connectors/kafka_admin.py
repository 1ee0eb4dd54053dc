"""Creates the Kafka topics of schemas.topics. Plain: knows no Flink and reads or writes no records."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from schemas.topics import topics
from settings import KafkaSettings, Settings

TIMEOUT_S = 30.0


class TopicMismatchError(RuntimeError):
    """The events topic is missing, or has other partitions than the settings say: salts would lie elsewhere."""


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
    check_events_topic(bootstrap_servers, settings.kafka)


def check_events_topic(bootstrap_servers: str, kafka: KafkaSettings) -> None:
    """Raises TopicMismatchError unless the events topic exists with the settings' number of partitions.

    And confluent_kafka.KafkaException when Kafka does not answer within 30 s.
    """
    topic = kafka.events_topic
    found = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=TIMEOUT_S).topics.get(topic)
    if found is None:
        raise TopicMismatchError(f"topic {topic} does not exist; create the topics first (docs/operations.md)")
    if len(found.partitions) != kafka.partitions:
        raise TopicMismatchError(
            f"topic {topic} has {len(found.partitions)} partitions, but kafka.partitions={kafka.partitions}: a salt "
            "lives in one partition for ever, salt mod partitions; set VIEW_COUNTS_KAFKA_PARTITIONS to the topic's "
            "number"
        )
