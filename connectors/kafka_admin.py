"""Creates, describes and alters the topics of schemas.topics. Knows no Flink."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from connectors.kafka_clients import client_config
from schemas.topic_differences import Seen
from schemas.topics import Topic
from settings import KafkaSettings

TIMEOUT_S = 30.0
Key = TypeVar("Key")
_NOT_LET_IN = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - the client's own names for them


class TopicMismatchError(RuntimeError):
    """Kafka's topics are not as the product needs them. The text has a line for each difference."""


def create_topics(kafka: KafkaSettings, wanted: Iterable[Topic], replication_factor: int) -> None:
    """Create the topics that are missing. Existing topics stay as they are.

    Raises confluent_kafka.KafkaException if Kafka refuses or does not answer within 30 s.
    """
    new = [
        NewTopic(
            topic.name, num_partitions=topic.partitions, replication_factor=replication_factor, config=topic.config
        )
        for topic in wanted
    ]
    with _admin(kafka) as admin:
        created = admin.create_topics(new, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)
        for future in created.values():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise


def describe_topics(kafka: KafkaSettings, names: Collection[str], timeout_s: float = TIMEOUT_S) -> dict[str, Seen]:
    """The topics of these names that exist, by name. The request never creates a topic.

    Raises confluent_kafka.KafkaException if Kafka does not answer in time, or if the client lacks the rights Describe
    and DescribeConfigs on a topic.
    """
    with _admin(kafka) as admin:
        there = _those_there(admin.describe_topics(TopicCollection(list(names)), request_timeout=timeout_s))
        configs = _configs(admin, there, timeout_s)
    return {
        name: Seen(
            len(topic.partitions),
            min((len(partition.replicas) for partition in topic.partitions), default=0),
            _id_of(topic),
            configs[name],
        )
        for name, topic in there.items()
        # A topic may be deleted between the two requests.
        if name in configs
    }


def alter_topics(kafka: KafkaSettings, changes: Iterable[tuple[str, str, str]]) -> None:
    """Set configurations, each given as (topic, name, value). All others stay as they are.

    Raises confluent_kafka.KafkaException if Kafka refuses or does not answer within 30 s.
    """
    by_topic: dict[str, list[ConfigEntry]] = {}
    for topic, name, value in changes:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        by_topic.setdefault(topic, []).append(entry)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=e) for topic, e in by_topic.items()]
    if not resources:
        return
    with _admin(kafka) as admin:
        for future in admin.incremental_alter_configs(resources, request_timeout=TIMEOUT_S).values():
            future.result()


def kept_ms(kafka: KafkaSettings, topic: str) -> int | None:
    """How long the broker may keep a record of a topic, in ms: the retention plus the time of one segment.

    It is -1 if the broker deletes nothing, and None if the topic does not exist. Raises confluent_kafka.KafkaException
    if Kafka does not answer within 30 s.
    """
    with _admin(kafka) as admin:
        found = _configs(admin, [topic], TIMEOUT_S).get(topic)
    if found is None:
        return None
    retention_ms, segment_ms = (int(found[name]) for name in ("retention.ms", "segment.ms"))
    is_deleted = "delete" in found["cleanup.policy"]
    return retention_ms + segment_ms if is_deleted and retention_ms >= 0 else -1


def topic_id(kafka: KafkaSettings, topic: str) -> str:
    """Kafka's id of a topic, which changes if the topic is deleted and created again; "" if the broker gives no ids.

    Raises TopicMismatchError if there is no such topic, and confluent_kafka.KafkaException if Kafka does not answer
    within 30 s.
    """
    with _admin(kafka) as admin:
        there = _those_there(admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S))
    if topic not in there:
        raise TopicMismatchError(f"topic {topic} does not exist; create the topics (docs/operations.md)")
    return _id_of(there[topic])


@contextmanager
def _admin(kafka: KafkaSettings) -> Iterator[AdminClient]:
    """A client. If Kafka does not let it in, the error says why, and not only that no answer came in time."""
    told: list[KafkaError] = []
    config: dict[str, Any] = {**client_config(kafka), "error_cb": told.append}
    client = AdminClient(config)
    try:
        yield client
    except KafkaException as error:
        client.poll(0)
        reason = next((one for one in told if one.code() in _NOT_LET_IN), None)
        if reason is None or error.args[0].code() != KafkaError._TIMED_OUT:  # noqa: SLF001
            raise
        raise KafkaException(reason) from error


def _those_there(asked: Mapping[Key, Any]) -> dict[Key, Any]:
    """The answers about the topics that exist."""
    found = {}
    for key, future in asked.items():
        try:
            found[key] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return found


def _configs(admin: AdminClient, names: Iterable[str], timeout_s: float) -> dict[str, dict[str, str]]:
    """The effective configuration of the topics that exist, by topic."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    return {
        resource.name: {entry.name: entry.value for entry in entries.values() if entry.value is not None}
        for resource, entries in _those_there(admin.describe_configs(resources, request_timeout=timeout_s)).items()
    }


def _id_of(topic: Any) -> str:
    return "" if topic.topic_id is None else str(topic.topic_id)
