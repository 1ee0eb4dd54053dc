"""Which offsets of a topic Kafka has no longer, and which it never had a record at. Plain: knows no Flink.

Offsets that no record has are no gap: Kafka puts its own marks of transactions there.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

TIMEOUT_S = 30.0
POLL_S = 5.0
POLLS_MAX = 6


class Lost(NamedTuple):
    """Offsets from `first` to before `next` of a partition were not read, and are gone.

    `began_ms` is the stamp of the first record that there is, None where there is none.
    """

    partition: int
    first: int
    next: int
    began_ms: int | None

    @property
    def number(self) -> int:
        """How many offsets."""
        return self.next - self.first


def lost_before(bootstrap_servers: str, topic: str, group: str, partitions: int) -> list[Lost]:
    """What a group has committed against where the log begins. Raises confluent_kafka.KafkaException."""
    consumer = _consumer(bootstrap_servers, group)
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
    bootstrap_servers: str, topic: str, partition: int, gaps: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Those of these offsets, (first, last), that Kafka does not say to be no records.

    What it has no longer it says nothing of. Raises confluent_kafka.KafkaException.
    """
    consumer = _consumer(bootstrap_servers, "view-counts-gaps")
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
    """(offset, stamp in ms) of the first record from there on; None: there is none before the end of the log."""
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


def _consumer(bootstrap_servers: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            # As the jobs read.
            "isolation.level": "read_uncommitted",
        }
    )


def total(lost: Sequence[Lost]) -> int:
    """How many offsets in all."""
    return sum(one.number for one in lost)
