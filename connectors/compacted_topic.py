"""Compacted topics: read once from beginning to end, and written. Plain: knows no Flink."""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

BATCH = 10_000
WRITE_TIMEOUT_S = 30.0


class Record(NamedTuple):
    """A record and its place; a value of None is a tombstone."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int


def read_to_end(bootstrap_servers: str, topic: str, timeout_s: float) -> Iterator[Record]:
    """Every record that the topic held when this was called, each partition in its order.

    Raises confluent_kafka.KafkaException when Kafka refuses, as for a topic that does not exist, or nothing more has
    come in so long a time.
    """
    deadline = time.monotonic() + timeout_s
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            # Joins no group; the name is only asked for.
            "group.id": "view-counts-reads-to-end",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        found = consumer.list_topics(topic, timeout=timeout_s).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        unread = set(found.partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        while unread:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} was not read in {timeout_s:.0f} s"))  # noqa: SLF001
            for message in consumer.consume(BATCH, timeout=0.2):
                error = message.error()
                if error is None:
                    yield Record(message.key(), message.value(), message.partition() or 0, message.offset() or 0)
                    # Not before: who takes the records may take their time.
                    deadline = time.monotonic() + timeout_s
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    unread.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


class Written(NamedTuple):
    """Records that Kafka has acknowledged, and the latest time that it gave one of them, in ms."""

    number: int
    newest_ms: int


def write(bootstrap_servers: str, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> Written:
    """Write each (key, value), placed as Java clients place keys; returns when Kafka has acknowledged all.

    Raises confluent_kafka.KafkaException when it refuses one or does not answer within 30 s, and what `records` raises,
    after which those before it are written.
    """
    failed: list[KafkaError] = []
    newest_ms = 0

    def reported(error: KafkaError | None, message: Message) -> None:
        nonlocal newest_ms
        if error is not None:
            failed.append(error)
        else:
            newest_ms = max(newest_ms, message.timestamp()[1])

    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "message.timeout.ms": int(WRITE_TIMEOUT_S * 1000),
            "on_delivery": reported,
        }
    )
    number = 0
    try:
        for key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key)
                    break
                except BufferError:
                    producer.poll(0.1)
            number += 1
    finally:
        producer.flush(2 * WRITE_TIMEOUT_S)
    if failed:
        raise KafkaException(failed[0])
    return Written(number, newest_ms)
