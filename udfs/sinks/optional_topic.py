"""Writes records to a Kafka topic that counting does not need. It waits for Kafka, but not for the topic alone.

As long as no broker answers, `send` waits, as everything does then. Brokers may also answer and still not accept the
records, because the topic is gone, a partition has no leader, or rights were withdrawn. Then `send` does not wait any
more, until everything is acknowledged again. Meanwhile single records are set aside, and counted in a metric, if Kafka
refuses them, has not accepted them in RECORD_TIMEOUT_S, or there is no room for them (docs/decisions/0032).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.figures import WriteFigures
from connectors.kafka_clients import client_config
from settings import KafkaSettings
from udfs.sinks.kafka_writer import Outgoing

log = logging.getLogger(__name__)

# While Kafka answers, `send` waits for so long.
PATIENCE_S = 10.0
# A record that Kafka has not accepted in this time expires.
RECORD_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 5.0
FLUSH_S = 2.0
ROOM_WAIT_S = 0.05
QUEUE_KBYTES = 64 << 10
# The log names the records that were set aside so often.
LOG_EVERY_S = 60.0


class OptionalTopic:
    """Writes with one producer. Not thread-safe. `name` is for metrics and logs."""

    def __init__(
        self,
        kafka: KafkaSettings,
        name: str,
        figures: WriteFigures,
        *,
        make_producer: Callable[[dict[str, object]], Any] = Producer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._figures = figures
        self._clock = clock
        self._is_out = False
        self._had_trouble = False
        self._again: list[Outgoing] = []
        self._reasons: Counter[str] = Counter()
        self._logged_at_s = -LOG_EVERY_S
        self._producer = make_producer(
            {
                **client_config(kafka),
                "acks": "all",
                # Values are absolute, so repeats and a changed order do no harm.
                "enable.idempotence": False,
                "message.timeout.ms": int(RECORD_TIMEOUT_S * 1000),
                # A topic that was deleted and made again is found soon.
                "topic.metadata.refresh.interval.ms": 30_000,
                "topic.metadata.propagation.max.ms": 5_000,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                "delivery.report.only.error": True,
                "on_delivery": self._reported,
            }
        )

    @property
    def is_out(self) -> bool:
        """Whether `send` does not wait for acknowledgements now."""
        return self._is_out

    def send(self, records: Iterable[Outgoing]) -> None:
        """Write every record, or set it aside."""
        if self._is_out:
            self._producer.poll(0)
            # All that was sent since the last call is acknowledged.
            if not self._had_trouble and len(self._producer) == 0:
                self._set_out(is_out=False)
            self._had_trouble = False
        produce = self._producer.produce
        for record in records:
            try:
                produce(*record)
            except (BufferError, KafkaException):
                self._produce(record)
        if not self._is_out:
            self._wait()
        self._tell()

    def _wait(self) -> None:
        """Wait until all is acknowledged or set aside, or until it is certain that only this topic accepts nothing."""
        answered_since_s: float | None = None
        while not self._is_out and (self._producer.flush(FLUSH_S) or self._again):
            again, self._again = self._again, []
            if self._kafka_answers():
                now_s = self._clock()
                answered_since_s = now_s if answered_since_s is None else answered_since_s
                if now_s - answered_since_s >= PATIENCE_S:
                    self._set_out(is_out=True)
                    self._set_aside("not taken in time", len(again))
                    return
            else:
                log.warning("Kafka does not answer; %s waits, as everything does", self._name)
                answered_since_s = None
            # What expired while Kafka was away is sent once more.
            while again and self._has_taken(again[-1]):
                again.pop()
            self._again += again

    def _produce(self, record: Outgoing) -> None:
        while not self._has_taken(record):
            if self._is_out:
                # The queue is full of records that one partition does not accept, so others find no room either.
                self._set_aside("no room", 1)
                return
            if self._producer.flush(FLUSH_S) or self._again:
                self._wait()

    def _has_taken(self, record: Outgoing) -> bool:
        """Return True if the producer has taken the record or refused it for good, False if there is no room."""
        try:
            self._producer.produce(*record)
        except BufferError:
            self._producer.poll(ROOM_WAIT_S)
            return False
        except KafkaException as error:
            self._set_aside(error.args[0].str(), 1)
        return True

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        if error.code() == KafkaError._MSG_TIMED_OUT and not self._is_out:  # noqa: SLF001
            # Kafka may be away, so the record is sent once more.
            key, partition = message.key(), message.partition()
            place = -1 if key is not None or partition is None else partition
            self._again.append((message.topic() or "", message.value() or b"", key, place))
        else:
            self._set_aside(error.str(), 1)

    def _kafka_answers(self) -> bool:
        try:
            self._producer.list_topics(timeout=ANSWER_TIMEOUT_S)
        except KafkaException:
            return False
        return True

    def _set_out(self, *, is_out: bool) -> None:
        self._is_out = is_out
        self._figures.note_out(self._name, is_out=is_out)
        if is_out:
            log.error("Kafka does not accept all records of %s; counting goes on without waiting for them", self._name)
        else:
            log.warning("Kafka accepts all records of %s again", self._name)

    def _set_aside(self, reason: str, number: int) -> None:
        if number:
            self._had_trouble = True
            self._figures.note_set_aside(self._name, number)
            self._reasons[reason] += number

    def _tell(self) -> None:
        now_s = self._clock()
        if self._reasons and now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            log.error("records of %s are set aside: %s", self._name, dict(self._reasons))
            self._reasons.clear()
