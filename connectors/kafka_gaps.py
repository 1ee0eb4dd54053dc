"""Finds offsets of a topic whose records Kafka has deleted, and offsets that never had a record. Knows no Flink.

An offset that never had a record is no gap: Kafka's own markers of transactions take offsets, too.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from connectors.kafka_clients import client_config
from settings import KafkaSettings

TIMEOUT_S = 30.0
POLL_S = 5.0
POLLS_MAX = 6


class Lost(NamedTuple):
    """The offsets from `first` to `next` - 1 of a partition, which Kafka deleted before they were read.

    `began_ms` is the record timestamp of the oldest record that the partition still has, and None if it has none.
    """

    partition: int
    first: int
    next: int
    began_ms: int | None

    @property
    def number(self) -> int:
        """How many offsets these are."""
        return self.next - self.first


def lost_before(kafka: KafkaSettings, topic: str, group: str, partitions: int) -> list[Lost]:
    """The offsets that a consumer group has not read and Kafka has deleted, for partitions 0 to `partitions` - 1.

    A partition in which the group has committed nothing is left out. Raises confluent_kafka.KafkaException, and
    TimeoutError if Kafka gives no record.
    """
    consumer = _consumer(kafka, group)
    try:
        asked = [TopicPartition(topic, partition) for partition in range(partitions)]
        found = []
        for at in consumer.committed(asked, timeout=TIMEOUT_S):
            if at.offset < 0:
                continue
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, at.partition), timeout=TIMEOUT_S)
            if low > at.offset:
                began = _first_at(consumer, topic, at.partition, low)
                found.append(Lost(at.partition, at.offset, low, None if began is None else began[1]))
        return found
    finally:
        consumer.close()


def without_empty(
    kafka: KafkaSettings, topic: str, partition: int, gaps: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """The gaps, ranges of offsets (first, last), without those of which Kafka shows that they never had a record.

    A gap stays in the result if Kafka has deleted a part of it, since Kafka then cannot show anything. Raises
    confluent_kafka.KafkaException, and TimeoutError if Kafka gives no record.
    """
    consumer = _consumer(kafka, "view-counts-gaps")
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
        return [
            (first, last)
            for first, last in gaps
            if first < low or last >= high or _has_record(consumer, topic, partition, first, last)
        ]
    finally:
        consumer.close()


def _has_record(consumer: Consumer, topic: str, partition: int, first: int, last: int) -> bool:
    found = _first_at(consumer, topic, partition, first)
    return found is not None and found[0] <= last


def _first_at(consumer: Consumer, topic: str, partition: int, offset: int) -> tuple[int, int] | None:
    """(offset, record timestamp in ms) of the first record from `offset` on; None if there is none up to the end."""
    consumer.assign([TopicPartition(topic, partition, offset)])
    for _ in range(POLLS_MAX):
        message = consumer.poll(POLL_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            return int(message.offset() or 0), message.timestamp()[1]
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name for it
            return None
    raise TimeoutError(f"Kafka gives no record of {topic}, partition {partition}, from offset {offset} on")


def _consumer(kafka: KafkaSettings, group: str) -> Consumer:
    return Consumer(
        {
            **client_config(kafka),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            # The jobs read in the same way.
            "isolation.level": "read_uncommitted",
        }
    )


def total(lost: Sequence[Lost]) -> int:
    """How many offsets these are together."""
    return sum(one.number for one in lost)
