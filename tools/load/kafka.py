"""Sends blocks and heartbeats directly to the events topic, as fast as Kafka accepts them."""

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.kafka_clients import client_config
from settings import KafkaSettings
from tools.load.encoding import heartbeat, records
from tools.load.prediction import Prediction
from tools.load.traffic import Block, TrafficSource
from tools.load.vocabulary import Names

MESSAGE_BYTES_MAX = 4 << 20
POLL_S = 0.05
FLUSH_S = 600.0


class KafkaSender:
    """An idempotent producer of ViewBatch records. Each arrives once and in order, even if brokers are killed."""

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions: int, salts: int) -> None:
        self._topic = topic
        self._partitions = partitions
        self._salts = salts
        self._failed: list[str] = []
        self._producer = Producer(
            {
                **client_config(KafkaSettings(bootstrap_servers=bootstrap_servers)),
                "acks": "all",
                "enable.idempotence": True,
                # 0 means that the producer retries for as long as the broker is away.
                "delivery.timeout.ms": 0,
                "linger.ms": 20,
                "batch.size": 1_000_000,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "queue.buffering.max.kbytes": 256 << 10,
                "reconnect.backoff.max.ms": 1000,
            }
        )

    def send_block(
        self,
        block: Block,
        videos: Names,
        *,
        events_per_batch: int,
        timestamps_ms: npt.NDArray[np.int64] | None = None,
        prediction: Prediction | None = None,
    ) -> None:
        """Give the records of a block to the producer, and note them in the prediction.

        `timestamps_ms` are the record timestamps by salt, for a CreateTime topic. Salts without events get no record.
        Raises RuntimeError if Kafka has refused an earlier record for good.
        """
        for record in records(block, videos, events_per_batch=events_per_batch):
            at = block.now_ms if timestamps_ms is None else int(timestamps_ms[record.salt])
            if prediction is not None:
                prediction.record(record.salt, at)
            self.send(record.salt, record.value, timestamp_ms=at)
        if prediction is not None:
            prediction.events(block)

    def heartbeats(self, now_ms: int, prediction: Prediction | None = None) -> None:
        """Send a heartbeat to every salt."""
        for salt in range(self._salts):
            if prediction is not None:
                prediction.record(salt, now_ms)
            self.send(salt, heartbeat(os.urandom(16), salt, self._salts, now_ms).value, timestamp_ms=now_ms)

    def send(self, salt: int, value: bytes, *, timestamp_ms: int, key: bytes | None = None) -> None:
        """Send one record as it is. Its key is by default that of its salt. Raises as `send_block`."""
        if self._failed:
            raise RuntimeError(f"Kafka refused a record for good: {self._failed[0]}")
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value,
                    key=salt.to_bytes(4, "big") if key is None else key,
                    partition=salt % self._partitions,
                    timestamp=timestamp_ms,
                    on_delivery=self._delivered,
                )
                break
            except BufferError:
                self._producer.poll(POLL_S)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until Kafka has acknowledged everything. Raises RuntimeError if that takes more than ten minutes."""
        left = self._producer.flush(FLUSH_S)
        if left or self._failed:
            raise RuntimeError(f"Kafka did not acknowledge {left} records; it refused: {self._failed[:3]}")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(str(KafkaException(error)))


def fill_topic(
    sender: KafkaSender,
    source: TrafficSource,
    *,
    events: int,
    events_per_batch: int,
    start_ms: int,
    span_ms: int,
    batches_per_block: int = 8,
    prediction: Prediction | None = None,
    after_block: Callable[[int], None] = lambda _sent: None,
) -> None:
    """Send events with times that are evenly spread over `span_ms` from `start_ms`, and wait for Kafka.

    A block has one time and about `batches_per_block` batches of every salt. Batches have `events_per_batch` events,
    except the last batch of each salt in a block. A heartbeat of each salt follows every block. `after_block` is called
    with the number of events sent so far.
    """
    salts = source.traffic.salts
    size = min(events, events_per_batch * salts * batches_per_block)
    sent = 0
    while sent < events:
        n = min(size, events - sent)
        now_ms = start_ms + span_ms * (sent + n) // events
        block = source.block(n, now_ms)
        sender.send_block(block, source.videos, events_per_batch=events_per_batch, prediction=prediction)
        sender.heartbeats(now_ms, prediction)
        sent += n
        after_block(sent)
    sender.flush()
