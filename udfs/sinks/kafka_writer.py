"""Writes records to Kafka. A call returns only when Kafka has acknowledged every record.

It is for records whose repeats do no harm. Keys are assigned to partitions as by Java clients. While Kafka is away, a
call waits, which is back-pressure. An error that waiting does not end is raised, and the job then restarts from its
last checkpoint.
"""

import logging
from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

from connectors.kafka_clients import client_config
from schemas.topics import DEAD_LETTER_BYTES_MAX
from settings import KafkaSettings

log = logging.getLogger(__name__)
FLUSH_LOG_S = 10.0
ROOM_WAIT_S = 0.05
BY_KEY = -1


class KafkaRefusedError(RuntimeError):
    """Kafka refused records for good."""


# (topic, value, key, partition). If the partition is BY_KEY, the key decides, or chance if there is no key.
Outgoing = tuple[str, bytes, bytes | None, int]


class KafkaWriter:
    """Writes with one producer. Not thread-safe."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                **client_config(kafka),
                "acks": "all",
                "enable.idempotence": True,
                # A record never expires.
                "message.timeout.ms": 0,
                "message.max.bytes": DEAD_LETTER_BYTES_MAX,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
                # A report for each record would cost more than everything else.
                "delivery.report.only.error": True,
                "on_delivery": self._reported,
            }
        )

    def send(self, records: Iterable[Outgoing]) -> None:
        """Write every record. Raises KafkaRefusedError."""
        produce = self._producer.produce
        for record in records:
            try:
                produce(*record)
            except BufferError:
                self._make_room(record)
        while self._producer.flush(FLUSH_LOG_S) and not self._failed:
            log.warning("Kafka has not acknowledged all records yet")
        if self._failed:
            raise KafkaRefusedError(f"Kafka refused records: {self._failed[0]}")

    def _make_room(self, record: Outgoing) -> None:
        while not self._failed:
            self._producer.poll(ROOM_WAIT_S)
            try:
                self._producer.produce(*record)
            except BufferError:
                continue
            return

    def _reported(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
