"""Creates, reads and compares an installation's topics and its declaration in Kafka. Knows no Flink.

schemas.declaration says what is declared, and schemas.topics what a broker must promise.
"""

from collections.abc import Collection

import msgspec
from confluent_kafka import KafkaError, KafkaException
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from connectors.compacted_topic import read_to_end, write
from connectors.kafka_admin import TIMEOUT_S, TopicMismatchError, create_topics, describe_topics
from schemas.declaration import Declaration
from schemas.topic_differences import Difference, Seen, differences
from schemas.topics import topics
from settings import Settings


def declaration(settings: Settings, timeout_s: float = TIMEOUT_S) -> Declaration | None:
    """The declaration of the events topic; None if there is none.

    Raises TopicMismatchError if the record cannot be read, and confluent_kafka.KafkaException if Kafka does not answer
    in time.
    """
    kafka = settings.kafka
    key = kafka.events_topic.encode()
    found = None
    try:
        for record in read_to_end(kafka, kafka.declaration_topic, timeout_s):
            if record.key == key:
                found = record.value
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
    if found is None:
        return None
    try:
        return Declaration.decode(found)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise TopicMismatchError(
            f"topic {kafka.declaration_topic}: the declaration of {kafka.events_topic} cannot be read: {error}; use "
            "a version of this product at least as new as the one that wrote it"
        ) from error


def declare(settings: Settings, declared: Declaration) -> None:
    """Write the declaration. Raises confluent_kafka.KafkaException if Kafka does not acknowledge it within 30 s."""
    kafka = settings.kafka
    write(kafka, kafka.declaration_topic, [(kafka.events_topic.encode(), declared.encode())])


def ensure_topics(settings: Settings, accepts: Collection[str] = ()) -> list[Difference]:
    """Create missing topics, and declare the salts and partitions of the settings if nothing is declared yet.

    Existing topics and an existing declaration stay as they are. `accepts` are names of differences that a new
    declaration accepts. Returns the harmless differences. Raises TopicMismatchError for all others, and
    confluent_kafka.KafkaException if Kafka refuses or does not answer within 30 s.
    """
    kafka = settings.kafka
    create_topics(kafka, topics(settings), kafka.replication_factor)
    seen, declared = _when_all_are_known(settings), declaration(settings)
    if declared is None:
        events = seen[kafka.events_topic]
        if events.partitions != kafka.partitions:
            raise TopicMismatchError(
                f"topic {kafka.events_topic} has {events.partitions} partitions and VIEW_COUNTS_KAFKA_PARTITIONS="
                f"{kafka.partitions}; the number is declared now and never changes: set the variable to the value with "
                "which events were written so far"
            )
        declared = Declaration(settings.counting.salts, kafka.partitions, events.id, tuple(accepts))
        declare(settings, declared)
    return _harmless(differences(settings, seen, declared))


# Other brokers may learn of a new topic a moment later than the broker that created it.
@retry(
    retry=retry_if_exception_type(TopicMismatchError),
    wait=wait_fixed(0.2),
    stop=stop_after_delay(TIMEOUT_S),
    reraise=True,
)
def _when_all_are_known(settings: Settings) -> dict[str, Seen]:
    names = [topic.name for topic in topics(settings)]
    seen = describe_topics(settings.kafka, names)
    if len(seen) < len(names):
        raise TopicMismatchError("Kafka does not show topics that were just created; look at the brokers' logs")
    return seen


def accept(settings: Settings, names: Collection[str]) -> None:
    """Add differences, by their `Difference.name`, to those that the declaration accepts.

    Raises TopicMismatchError if there is no declaration.
    """
    declared = declaration(settings)
    if declared is None:
        raise TopicMismatchError(
            f"topic {settings.kafka.declaration_topic} has no declaration of {settings.kafka.events_topic}; declare "
            "salts and partitions first: python -m tools.stack.provision topics"
        )
    accepts = tuple(sorted({*declared.accepts, *names}))
    declare(settings, msgspec.structs.replace(declared, accepts=accepts))


def found_differences(settings: Settings, timeout_s: float = TIMEOUT_S) -> list[Difference]:
    """All differences between Kafka and what the product needs. Raises what `declaration` and `describe_topics` do."""
    seen = describe_topics(settings.kafka, [topic.name for topic in topics(settings)], timeout_s)
    return differences(settings, seen, declaration(settings, timeout_s))


def check_topics(settings: Settings, timeout_s: float = TIMEOUT_S) -> list[Difference]:
    """The harmless differences between Kafka and what the product needs.

    Raises TopicMismatchError, with a line for each, if there are others, and confluent_kafka.KafkaException if Kafka
    does not answer in time.
    """
    return _harmless(found_differences(settings, timeout_s))


def _harmless(found: list[Difference]) -> list[Difference]:
    needed = [one.line for one in found if one.needed]
    if needed:
        raise TopicMismatchError("\n".join(needed))
    return found
