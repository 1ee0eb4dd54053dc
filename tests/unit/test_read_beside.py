"""A compacted topic that counts do without: read when it is there, waited for when Kafka is not, done without else."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.compacted_topic import Record
from settings import KafkaSettings
from tests.support.waiting import eventually
from udfs.logic.wire.keyed_records import Keyed
from udfs.sources import compacted
from udfs.sources.compacted import PATIENCE_S, CompactedTopic, ReadBeside

GONE = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))


class Kafka:
    """Of one topic; the time goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.records: list[Record] | None = None
        self.away = False
        self.now_s = 0.0
        self.back_at_s = float("inf")
        self.may_read = threading.Event()
        self.may_read.set()

    def read_to_end(self, *_: object) -> Iterator[Record]:
        self.may_read.wait(10)
        if self.now_s >= self.back_at_s:
            self.away, self.records = False, self.records or []
        if self.away or self.records is None:
            raise GONE
        yield from self.records

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def list_topics(self, **_: object) -> None:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    made = Kafka()
    monkeypatch.setattr(compacted, "read_to_end", made.read_to_end)
    monkeypatch.setattr(compacted, "time", SimpleNamespace(monotonic=lambda: made.now_s, sleep=made.sleep))
    monkeypatch.setattr(compacted, "AdminClient", lambda _config: made)
    return made


def read(key: bytes | None, value: bytes | None) -> Any:
    return Keyed((key or b"").decode(), value)


def records(*values: str) -> list[Record]:
    return [Record(b"key", value.encode(), 0, offset) for offset, value in enumerate(values)]


def test_a_topic_that_is_missing_is_done_without(kafka: Kafka) -> None:
    found: dict[str, bytes | None] = {}
    assert not CompactedTopic(KafkaSettings(), "t", read).read_if_there(found.__setitem__)
    assert PATIENCE_S <= kafka.now_s < 2 * PATIENCE_S


def test_a_topic_is_waited_for_while_kafka_is_away(kafka: Kafka) -> None:
    kafka.away, kafka.records, kafka.back_at_s = True, records("a"), 10 * PATIENCE_S
    found: dict[str, bytes | None] = {}
    assert CompactedTopic(KafkaSettings(), "t", read).read_if_there(found.__setitem__)
    assert found == {"key": b"a"}


def test_what_comes_later_is_joined_to_what_was_heard_meanwhile(kafka: Kafka) -> None:
    kafka.may_read.clear()
    kafka.records = [*records("old", "newer"), Record(b"other", b"o", 0, 2)]
    beside = ReadBeside(KafkaSettings(), "t", read)
    known: dict[str, bytes | None] = {}
    beside.take_read(known.__setitem__)
    assert known == {}
    # The broadcast begins with what is old.
    assert beside.is_news("key", 0, 0)
    known["key"] = b"old"
    # And is ahead of what is read for this one.
    assert beside.is_news("other", 0, 7)
    known["other"] = b"newest"
    kafka.may_read.set()
    beside.take_read(known.__setitem__, 10)
    assert beside.is_read
    assert known == {"key": b"newer", "other": b"newest"}
    assert not beside.is_news("key", 0, 1)
    assert beside.is_news("key", 0, 8)


def test_a_topic_that_is_made_later_is_read_then(kafka: Kafka) -> None:
    kafka.back_at_s = 20 * PATIENCE_S
    kafka.may_read.clear()
    beside = ReadBeside(KafkaSettings(), "t", read)
    kafka.may_read.set()
    known: dict[str, bytes | None] = {}
    beside.take_read(known.__setitem__, 10)
    assert beside.is_read
    assert known == {}


def test_no_more_is_held_than_some_records_and_none_is_left_out(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacted, "HELD_MAX", 3)
    given: list[int] = []

    def given_out() -> Iterator[Record]:
        for offset in range(50):
            given.append(offset)
            yield Record(str(offset).encode(), b"value", 0, offset)

    monkeypatch.setattr(compacted, "read_to_end", lambda *_: given_out())
    beside = ReadBeside(KafkaSettings(), "t", read)
    assert eventually(lambda: len(given) > 3)
    # One is with the thread, which waits.
    assert len(given) == 4
    known: dict[str, bytes | None] = {}
    beside.take_read(known.__setitem__, 10)
    assert beside.is_read
    assert known == {str(offset): b"value" for offset in range(50)}


def test_what_was_taken_is_no_news_though_the_rest_is_not_read(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    more = threading.Event()

    def two() -> Iterator[Record]:
        yield Record(b"key", b"newer", 0, 5)
        yield Record(b"other", b"value", 1, 0)
        more.wait(10)
        yield Record(b"last", b"value", 0, 6)

    monkeypatch.setattr(compacted, "read_to_end", lambda *_: two())
    beside = ReadBeside(KafkaSettings(), "t", read)
    known: dict[str, bytes | None] = {}

    def took_two() -> bool:
        beside.take_read(known.__setitem__)
        return len(known) == 2

    assert eventually(took_two)
    assert not beside.is_news("key", 0, 5)
    assert not beside.is_news("key", 0, 4)
    assert beside.is_news("key", 0, 7)
    assert not beside.is_read
    more.set()
    beside.take_read(known.__setitem__, 10)
    assert known == {"key": b"newer", "other": b"value", "last": b"value"}
