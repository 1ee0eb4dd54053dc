"""Reads a compacted topic once from beginning to end, and writes to it. Knows no Flink."""

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

from connectors.kafka_clients import client_config
from settings import KafkaSettings

BATCH = 10_000
WRITE_TIMEOUT_S = 30.0


class Record(NamedTuple):
    """A record with its partition, offset and timestamp in ms since 1970. A value of None is a tombstone."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    at_ms: int = 0


def read_to_end(kafka: KafkaSettings, topic: str, timeout_s: float) -> Iterator[Record]:
    """Every record that the topic had when this was called. Each partition is in order.

    Raises confluent_kafka.KafkaException if Kafka refuses, for example because the topic does not exist, or if no
    record comes for `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    consumer = Consumer(
        {
            **client_config(kafka),
            # The client requires a name, but joins no group.
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
                    place = message.partition() or 0, message.offset() or 0
                    yield Record(message.key(), message.value(), *place, message.timestamp()[1])
                    # The time starts only now, because the caller may have been slow with the last record.
                    deadline = time.monotonic() + timeout_s
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    unread.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


class Written(NamedTuple):
    """The number of records that Kafka has acknowledged, and the latest of their record timestamps in ms."""

    number: int
    newest_ms: int


def write(kafka: KafkaSettings, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> Written:
    """Write each (key, value), and return when Kafka has acknowledged all of them.

    A key goes to the partition that Java clients would choose. Raises confluent_kafka.KafkaException if Kafka refuses a
    record or does not answer within 30 s. If `records` raises, the records before that are written.
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
            **client_config(kafka),
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
