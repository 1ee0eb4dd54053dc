"""Writes what diverted keys send to a topic apart, where nothing counts it until somebody replays it. Knows no HTTP.

An incident needs this, and daily work does not. So its producer begins with the first such body, and a body waits for
its own records alone.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaException, Producer

from connectors.kafka_clients import client_config
from schemas.topics import RECORD_BYTES_MAX
from services.ingest.packing import RECORD_EVENTS_MAX, Packed, batch_value
from services.ingest.tally import IngestTally
from settings import Settings


class Diverter:
    """Writes to the topic of diverted keys."""

    def __init__(self, settings: Settings, *, producer_id: str, tally: IngestTally) -> None:
        self._settings = settings
        self._producer_id = producer_id
        self._tally = tally
        self._producer: Producer | None = None
        # One thread of its own: others must not wait for what an incident does, and a producer is flushed by one.
        self._thread = ThreadPoolExecutor(1, "diverter")

    async def write(self, packed: Packed) -> list[tuple[int, str]]:
        """Return when Kafka has answered: (index, reason) of each event that it has not acknowledged."""
        failed = await asyncio.get_running_loop().run_in_executor(self._thread, self._write, packed)
        self._tally.diverted(packed.count - len(failed))
        self._tally.not_written(len(failed))
        return sorted(failed)

    def _write(self, packed: Packed) -> list[tuple[int, str]]:
        topic, timeout_ms = self._settings.kafka.diverted_topic, self._settings.ingest.delivery_timeout_ms
        # What no delivery takes out of it was not acknowledged in time.
        waiting: dict[int, list[int]] = {}
        failed: list[tuple[int, str]] = []
        producer = self._opened()
        for number, (salt, value, places) in enumerate(self._records(packed)):
            waiting[number] = places

            def delivered(error: Any, _message: Any, number: int = number) -> None:
                places = waiting.pop(number)
                if error is not None:
                    failed.extend((index, str(error)) for index in places)

            try:
                producer.produce(topic, value, key=salt.to_bytes(4, "big"), on_delivery=delivered)
            except (BufferError, KafkaException) as error:
                delivered(error, None)
        producer.flush(timeout_ms / 1000 + 1)
        return failed + [(index, "no answer in time") for places in waiting.values() for index in places]

    def _records(self, packed: Packed) -> list[tuple[int, bytes, list[int]]]:
        """(salt, value, indexes of its events) of each record."""
        found = []
        for salt, (block, ends, places) in enumerate(zip(packed.blocks, packed.ends, packed.indexes, strict=True)):
            start = 0
            for at in range(0, len(places), RECORD_EVENTS_MAX):
                mine = places[at : at + RECORD_EVENTS_MAX]
                end = int(ends[at + len(mine) - 1])
                value = batch_value(
                    [block[start:end]],
                    len(mine),
                    producer_id=self._producer_id,
                    salt=salt,
                    salts=self._settings.counting.salts,
                    now_ms=time.time_ns() // 1_000_000,
                )
                found.append((salt, value, list(mine)))
                start = end
        return found

    def _opened(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                {
                    **client_config(self._settings.kafka),
                    "client.id": f"{self._producer_id}-diverted",
                    "acks": "all",
                    "enable.idempotence": True,
                    "delivery.timeout.ms": self._settings.ingest.delivery_timeout_ms,
                    "linger.ms": 1,
                    "message.max.bytes": RECORD_BYTES_MAX,
                }
            )
        return self._producer
