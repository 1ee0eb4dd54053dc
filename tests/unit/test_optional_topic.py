"""Records that counts do without: waited for while Kafka is away, and never when only their topic is."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.figures import WriteFigures
from settings import KafkaSettings
from udfs.sinks import optional_topic
from udfs.sinks.kafka_writer import BY_KEY, Outgoing
from udfs.sinks.optional_topic import PATIENCE_S, RECORD_TIMEOUT_S, OptionalTopic

TIMED_OUT = KafkaError._MSG_TIMED_OUT
ROOM = 50


class FakeProducer:
    """Stands for librdkafka's: records are accepted, refused, or stay until they expire."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.kafka_away = False
        self.topic_gone = False
        # Of this partition there is no leader.
        self.headless: int | None = None
        self.too_large: set[bytes] = set()
        self.accepted: list[bytes] = []
        self._queue: deque[tuple[float, Outgoing]] = deque()
        self.reported: Callable[[Any, Any], None] = lambda *_: None

    def make(self, config: dict[str, Any]) -> "FakeProducer":
        self.reported = config["on_delivery"]
        return self

    def produce(self, *record: Any) -> None:
        if self.topic_gone and not self.kafka_away:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))
        if len(self._queue) >= ROOM:
            raise BufferError
        self._queue.append((self.now_s, record))

    def poll(self, seconds: float) -> None:
        self._pass(seconds)

    def flush(self, seconds: float) -> int:
        self._pass(0)
        if self._queue:
            self._pass(seconds)
        return len(self._queue)

    def list_topics(self, timeout: float) -> None:
        if self.kafka_away:
            self.now_s += timeout
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def __len__(self) -> int:
        return len(self._queue)

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds
        kept: deque[tuple[float, Outgoing]] = deque()
        # What is reported may lead to more.
        queued, self._queue = self._queue, kept
        for at_s, record in queued:
            topic, value, key, _ = record
            message = SimpleNamespace(
                topic=lambda topic=topic: topic, value=lambda value=value: value, key=lambda key=key: key,
                partition=lambda: 0,
            )  # fmt: skip
            if not self.kafka_away and value in self.too_large:
                self.reported(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), message)
            elif not self.kafka_away and (self.headless is None or value[0] % 4 != self.headless):
                self.accepted.append(value)
            elif self.now_s - at_s >= RECORD_TIMEOUT_S:
                self.reported(KafkaError(TIMED_OUT), message)
            else:
                kept.append((at_s, record))


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def figures() -> WriteFigures:
    return WriteFigures()


@pytest.fixture
def topic(producer: FakeProducer, figures: WriteFigures) -> OptionalTopic:
    return OptionalTopic(KafkaSettings(), "counts", figures, make_producer=producer.make, clock=lambda: producer.now_s)


def records(*numbers: int) -> list[Outgoing]:
    return [("t", bytes([number]), b"k", BY_KEY) for number in numbers]


def test_send_returns_when_all_is_acknowledged(topic: OptionalTopic, producer: FakeProducer) -> None:
    topic.send(records(*range(200)))
    assert producer.accepted == [bytes([number]) for number in range(200)]


def test_a_topic_that_is_gone_costs_its_records_and_no_time(
    topic: OptionalTopic, producer: FakeProducer, figures: WriteFigures
) -> None:
    producer.topic_gone = True
    for _ in range(100):
        topic.send(records(*range(10)))
    assert producer.now_s < PATIENCE_S
    assert figures.set_aside("counts") == 1000
    producer.topic_gone = False
    topic.send(records(1, 2))
    assert producer.accepted == [b"\1", b"\2"]


def test_one_record_that_is_refused_is_set_aside_alone(
    topic: OptionalTopic, producer: FakeProducer, figures: WriteFigures
) -> None:
    producer.too_large = {b"\2"}
    topic.send(records(1, 2, 3))
    assert (producer.accepted, figures.set_aside("counts"), topic.is_out) == ([b"\1", b"\3"], 1, False)


def test_an_outage_costs_no_record_however_long_it_takes(
    topic: OptionalTopic, producer: FakeProducer, figures: WriteFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = FakeProducer.list_topics

    def list_topics(self: FakeProducer, timeout: float) -> None:
        self.kafka_away = self.now_s < 10 * RECORD_TIMEOUT_S
        asked(self, timeout)

    monkeypatch.setattr(FakeProducer, "list_topics", list_topics)
    producer.kafka_away = True
    topic.send(records(*range(3 * ROOM)))
    assert sorted(producer.accepted) == [bytes([number]) for number in range(3 * ROOM)]
    assert producer.now_s >= 10 * RECORD_TIMEOUT_S
    assert (figures.set_aside("counts"), topic.is_out) == (0, False)


def test_a_partition_without_a_leader_holds_up_nobody_for_long(
    topic: OptionalTopic, producer: FakeProducer, figures: WriteFigures
) -> None:
    producer.headless = 1
    topic.send(records(*range(8)))
    assert PATIENCE_S <= producer.now_s < 3 * PATIENCE_S
    assert sorted(producer.accepted) == [bytes([number]) for number in range(8) if number % 4 != 1]
    assert figures.out == {"counts"}
    # Afterwards nothing waits, and nothing but that partition's records is lost.
    at_s, accepted = producer.now_s, len(producer.accepted)
    for _ in range(20):
        topic.send(records(*range(8)))
    assert producer.now_s == at_s
    producer.now_s += RECORD_TIMEOUT_S
    topic.send([])
    assert len(producer.accepted) - accepted == 20 * 6
    assert figures.set_aside("counts") == 21 * 2
    producer.headless = None
    for _ in range(3):
        topic.send(records(5))
    assert not topic.is_out
    assert figures.out == frozenset()


def test_more_than_the_queue_holds_is_set_aside_while_nothing_is_taken(
    topic: OptionalTopic, producer: FakeProducer, figures: WriteFigures
) -> None:
    producer.headless = 1
    topic.send(records(1))
    topic.send(records(*[1] * 4 * ROOM))
    assert figures.set_aside("counts") >= 3 * ROOM
    assert producer.now_s < RECORD_TIMEOUT_S


def test_the_clients_own_limits_are_below_those_of_a_stock_broker() -> None:
    made: list[dict[str, Any]] = []
    OptionalTopic(KafkaSettings(), "counts", WriteFigures(), make_producer=made.append)
    # A view-counts value is below a stock broker's limit, which is the client's default.
    assert "message.max.bytes" not in made[0]
    assert optional_topic.QUEUE_KBYTES <= 1 << 20
