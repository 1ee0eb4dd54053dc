"""Writes the records of drained objects to Kafka, partition by partition. Every call blocks."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, Producer

from connectors.kafka_clients import client_config
from schemas.topics import DEAD_LETTER_BYTES_MAX
from settings import Settings
from udfs.logic.overflow.draining import Batch

_GRACE_S = 1.0
# When other partitions have acknowledged theirs, one that has not is left alone after this time.
_PATIENCE_S = 5.0
_POLL_S = 0.1


class Outcome(NamedTuple):
    """What became of the records of one partition: the last broker's time, in ms, or why they are not all written."""

    stamp_ms: int = 0
    failure: str | None = None


class KafkaSink:
    """Writes with one producer. Records may be written though an outcome is a failure."""

    def __init__(self, settings: Settings, producer_id: str) -> None:
        self._kafka = settings.kafka
        self._timeout_s = settings.ingest.delivery_timeout_ms / 1000 + _GRACE_S
        self._producer = Producer(
            {
                **client_config(settings.kafka),
                "client.id": producer_id,
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": settings.ingest.delivery_timeout_ms,
                "linger.ms": 5,
                "message.max.bytes": DEAD_LETTER_BYTES_MAX,
                "reconnect.backoff.max.ms": 1000,
            }
        )

    def write(self, batches: Mapping[int, Iterable[Batch]]) -> dict[int, Outcome]:
        """Write to the events topic, by partition. Return when Kafka has answered for all, or the time is over."""
        return self._written(
            (partition, self._kafka.events_topic, one.value, one.salt.to_bytes(4, "big"), partition)
            for partition, mine in batches.items()
            for one in mine
        )

    def write_diverted(self, batches: Iterable[Batch]) -> Outcome:
        """Write to the topic of diverted keys."""
        topic = self._kafka.diverted_topic
        found = self._written((0, topic, one.value, one.salt.to_bytes(4, "big"), -1) for one in batches)
        return found.get(0, Outcome())

    def write_letters(self, letters: Iterable[bytes]) -> Outcome:
        """Write to the dead letters."""
        found = self._written((0, self._kafka.dead_letter_topic, letter, None, -1) for letter in letters)
        return found.get(0, Outcome())

    def _written(self, records: Iterable[tuple[int, str, bytes, bytes | None, int]]) -> dict[int, Outcome]:
        """The outcome by the first entry of (group, topic, value, key, partition)."""
        found: dict[int, Outcome] = {}
        waiting: set[tuple[int, int]] = set()
        for number, (group, topic, value, key, partition) in enumerate(records):
            waiting.add((group, number))

            def delivered(error: Any, message: Any, group: int = group, number: int = number) -> None:
                if (group, number) not in waiting:
                    return
                waiting.discard((group, number))
                before = found.get(group, Outcome())
                if error is not None:
                    found[group] = Outcome(failure=str(error))
                elif before.failure is None:
                    found[group] = Outcome(max(before.stamp_ms, message.timestamp()[1]))

            try:
                if partition < 0:
                    self._producer.produce(topic, value, key=key, on_delivery=delivered)
                else:
                    self._producer.produce(topic, value, key=key, partition=partition, on_delivery=delivered)
            except (BufferError, KafkaException) as error:
                delivered(error, None)
        self._wait(waiting, found)
        for group, _ in sorted(waiting):
            found[group] = Outcome(failure="no answer in time")
        waiting.clear()
        return found

    def _wait(self, waiting: set[tuple[int, int]], found: Mapping[int, Outcome]) -> None:
        """Return when nothing waits, or when it is no use to wait longer."""
        began_s = time.monotonic()
        while waiting:
            self._producer.poll(_POLL_S)
            waited_s = time.monotonic() - began_s
            left = {group for group, _ in waiting}
            are_others_done = any(group not in left and one.failure is None for group, one in found.items())
            if waited_s > self._timeout_s or (are_others_done and waited_s > _PATIENCE_S):
                return
