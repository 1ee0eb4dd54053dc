"""What Kafka has no longer is counted, and offsets that no record has are no gap; Kafka is a list of records."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from confluent_kafka import KafkaError, TopicPartition

from connectors import kafka_gaps
from connectors.kafka_gaps import Lost, lost_before, without_empty
from jobs.gaps import sentences
from settings import KafkaSettings
from udfs.sinks.missing_records import MissingRecords

STAMP_MS = 1_767_225_600_000


class Log:
    """A partition: offsets of its records, where it begins and where it ends."""

    def __init__(self, low: int, high: int, records: list[int]) -> None:
        self.low, self.high, self.records = low, high, records


class FakeConsumer:
    """As much of confluent_kafka's as is used."""

    def __init__(self, logs: dict[int, Log], committed: dict[int, int]) -> None:
        self._logs, self._committed = logs, committed
        self._at = TopicPartition("t", 0, 0)

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition("t", one.partition, self._committed.get(one.partition, -1001)) for one in asked]

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        log = self._logs[place.partition]
        return log.low, log.high

    def assign(self, places: list[TopicPartition]) -> None:
        (self._at,) = places

    def poll(self, _timeout: float) -> Any:
        log = self._logs[self._at.partition]
        found = next((offset for offset in log.records if offset >= self._at.offset), None)
        end = SimpleNamespace(code=lambda: KafkaError._PARTITION_EOF)
        return SimpleNamespace(
            error=lambda: end if found is None else None, offset=lambda: found, timestamp=lambda: (1, STAMP_MS)
        )

    def close(self) -> None:
        """Nothing to let go."""


@pytest.fixture
def kafka() -> Iterator[tuple[dict[int, Log], dict[int, int]]]:
    """Logs by partition, and what the group has committed."""
    logs: dict[int, Log] = {}
    committed: dict[int, int] = {}
    with mock.patch.object(kafka_gaps, "_consumer", return_value=FakeConsumer(logs, committed)):
        yield logs, committed


def test_what_was_not_read_and_is_gone_is_counted_by_partition(kafka: tuple[dict[int, Log], dict[int, int]]) -> None:
    logs, committed = kafka
    logs |= {0: Log(100, 120, [100]), 1: Log(50, 60, [50]), 2: Log(70, 70, []), 3: Log(9, 9, [])}
    # The last one has never been read.
    committed |= {0: 100, 1: 20, 2: 69}
    lost = lost_before(KafkaSettings(), "t", "view-counts", 4)
    assert lost == [Lost(1, 20, 50, STAMP_MS), Lost(2, 69, 70, None)]
    assert sentences(lost, "t") == [
        "partition 1 of t: 30 records, offsets 20 to 49, were not read, and Kafka has deleted them",
        "partition 2 of t: 1 records, offsets 69 to 69, were not read, and Kafka has deleted them",
        (
            "31 records are missing in the minutes: check the topic's retention and how long the job was down; the "
            "rollup adds the records in the archive"
        ),
    ]


def test_markers_of_transactions_are_no_gap(kafka: tuple[dict[int, Log], dict[int, int]]) -> None:
    logs, _ = kafka
    logs[0] = Log(10, 30, [10, 11, 12, 15, 16, 20, 25])
    gaps = [(5, 9), (8, 11), (11, 12), (13, 14), (14, 15), (17, 19), (26, 29), (26, 30)]
    # Of what Kafka has no longer, and of what is not there yet, it says nothing.
    assert without_empty(KafkaSettings(), "t", 0, gaps) == [(5, 9), (8, 11), (11, 12), (14, 15), (26, 30)]


@pytest.mark.parametrize(("shards", "begin"), [(2, datetime(2026, 1, 1, 11, 5, tzinfo=UTC)), (3, None)])
def test_rows_say_between_which_times_views_may_lack(shards: int, begin: datetime | None) -> None:
    written: list[tuple[Any, ...]] = []

    def execute(statement: str, values: tuple[Any, ...]) -> list[Any]:
        if statement.startswith("INSERT"):
            written.append(values)
        at = datetime(2026, 1, 1, 11, 5)
        return [(shard, shards, at + timedelta(minutes=shard)) for shard in range(2)]

    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    first_ms = int((now - timedelta(minutes=20)).timestamp() * 1000)
    far_ms = first_ms + 10**12
    lost = [Lost(1, 20, 50, first_ms), Lost(2, 69, 70, None), Lost(3, 0, 1, far_ms)]
    MissingRecords(SimpleNamespace(execute=execute)).write(lost, now, 60_000)
    minute = timedelta(minutes=1)
    assert written == [
        ("view_counts", 1, 20, 50, begin, now - 19 * minute, now),
        ("view_counts", 2, 69, 70, begin, now + minute, now),
        ("view_counts", 3, 0, 1, begin, now + minute, now),
    ]
