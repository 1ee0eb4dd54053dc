"""Writes counts to the view-counts topic; returns only when Kafka has acknowledged every one.

Values are absolute, so that a repeat does no harm. Keys are placed as Java clients place them. An absent Kafka is
back-pressure; an error that no waiting ends is raised, and the job then starts again from its last checkpoint.
"""

import logging
from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

from settings import KafkaSettings

log = logging.getLogger(__name__)
FLUSH_LOG_S = 10.0
ROOM_WAIT_S = 0.05


class CountsTopicError(RuntimeError):
    """Kafka refused counts for good."""


class CountsTopic:
    """A producer. Not thread-safe."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = settings.counts_topic
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                # For ever.
                "message.timeout.ms": 0,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
                # A report for each would cost more than all the rest.
                "delivery.report.only.error": True,
                "on_delivery": self._reported,
            }
        )

    def send(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Write (value, key) of each. Raises CountsTopicError."""
        produce, topic = self._producer.produce, self._topic
        for value, key in messages:
            try:
                produce(topic, value, key)
            except BufferError:
                self._make_room(value, key)
        while self._producer.flush(FLUSH_LOG_S) and not self._failed:
            log.warning("Kafka has not acknowledged all counts for %s yet", topic)
        if self._failed:
            raise CountsTopicError(f"topic {topic} refused counts: {self._failed[0]}; see docs/operations.md")

    def _make_room(self, value: bytes, key: bytes) -> None:
        while not self._failed:
            self._producer.poll(ROOM_WAIT_S)
            try:
                self._producer.produce(self._topic, value, key)
            except BufferError:
                continue
            return

    def _reported(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
