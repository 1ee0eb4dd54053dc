"""Reads the numbers of the demo's table: the ledger in Cassandra, the topic's end in Kafka, counts over HTTP.

Every part may be away at any moment and come back. Until it does, its last answer stays.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import httpx2
from cassandra import DriverException, RequestExecutionException
from cassandra.cluster import NoHostAvailable
from cassandra.concurrent import execute_concurrent_with_args
from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.cassandra import CassandraAwayError, connect
from connectors.kafka_clients import client_config
from settings import Settings
from tools.demo.ledger_sum import COLUMNS, MINUTE_MS, LedgerRow, LedgerSum

AWAY = (
    CassandraAwayError,
    NoHostAvailable,
    DriverException,
    RequestExecutionException,
    KafkaException,
    httpx2.HTTPError,
)
KAFKA_TIMEOUT_S = 2.0
HTTP_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


class Poller(Generic[Answer]):
    """Asks again and again in a thread of its own, so that a part that hangs does not delay the others.

    `value` is the newest answer, and None before the first. An error of AWAY leaves it as it is.
    """

    def __init__(self, ask: Callable[[], Answer], interval_s: float, stopping: threading.Event) -> None:
        self.value: Answer | None = None
        self._ask = ask
        self._interval_s = interval_s
        self._stopping = stopping
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to ask. Returns at once."""
        self._thread.start()

    def wait_first(self, timeout_s: float) -> None:
        """Wait for the first answer, for at most `timeout_s`."""
        self._answered.wait(timeout_s)

    def join(self) -> None:
        """Wait until the thread has ended. Set `stopping` first."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(*AWAY):
                self.value = self._ask()
                self._answered.set()
            self._stopping.wait(self._interval_s)


class Judged(NamedTuple):
    """The sums of the ledger so far, by column, and how many records of the topic are not in the ledger yet."""

    totals: Counter[str]
    lag_records: int


class JudgedSource:
    """Reads the ledger, and compares it with the topic's end.

    The lag is the number of records in the topic minus the number in the ledger. It is zero only when every record is
    judged and its fates are in Cassandra. Flink's own lag metric ends at the source and is refreshed every 10 s. The
    lag is right only while the ledger still has every record, which is for 100 days (its time to live in schemas/cql).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts = LedgerSum()
        self._session: Any = None
        self._consumer: Consumer | None = None

    def read(self) -> Judged:
        """Raises one of AWAY."""
        # The topic's end is read first. Otherwise records that are judged in between would make the lag negative.
        end = self._appended()
        self._accounts.take(self._rows())
        totals = self._accounts.totals()
        return Judged(totals, max(0, end - totals["records"]))

    def close(self) -> None:
        """End both connections."""
        if self._session is not None:
            self._session.cluster.shutdown()
        if self._consumer is not None:
            self._consumer.close()

    def _appended(self) -> int:
        kafka = self._settings.kafka
        if self._consumer is None:
            # The client joins no group and reads nothing; it only requires a group's name. Log lines would break the
            # table on the terminal, and a broker that is away is visible as a lag that does not change.
            self._consumer = Consumer({**client_config(kafka), "group.id": "view-counts-demo", "log_level": 0})
        partitions = [TopicPartition(kafka.events_topic, number) for number in range(kafka.partitions)]
        marks = [self._consumer.get_watermark_offsets(p, timeout=KAFKA_TIMEOUT_S) for p in partitions]
        if None in marks:
            raise KafkaException("Kafka did not give the topic's end in time")
        return sum(high for _, high in marks)

    def _rows(self) -> list[LedgerRow]:
        if self._session is None:
            session = connect(self._settings.cassandra)
            columns = ", ".join(("minute", "salt", *COLUMNS))
            self._of_minute = session.prepare(f"SELECT {columns} FROM ledger WHERE minute = ?")
            self._all = session.prepare(f"SELECT {columns} FROM ledger")
            self._session = session
        first_ms = self._accounts.open_from_ms
        if first_ms is None:
            return [_row(row) for row in self._session.execute(self._all)]
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        # A broker's clock may be ahead of this machine's.
        minutes = [(minute,) for minute in range(first_ms, now_ms + 2 * MINUTE_MS, MINUTE_MS)]
        results = execute_concurrent_with_args(self._session, self._of_minute, minutes, concurrency=32)
        return [_row(row) for result in results for row in result.result_or_exc]


def _row(row: Any) -> LedgerRow:
    minute_ms = round(row.minute.replace(tzinfo=UTC).timestamp() * 1000)
    return LedgerRow(minute_ms, row.salt, Counter({name: getattr(row, name) or 0 for name in COLUMNS}))


class Counts(NamedTuple):
    """What the query service answers about some videos: (video, views), the most views first."""

    videos: list[tuple[str, int]]
    complete_through: str | None


class CountsSource:
    """Asks the query service for the totals of a few known videos."""

    def __init__(self, query_url: str, videos: Sequence[str]) -> None:
        self._client = httpx2.Client(base_url=query_url, timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._videos = videos

    def read(self) -> Counts:
        """Raises one of AWAY."""
        found: list[tuple[str, int]] = []
        complete_through = None
        for video in self._videos:
            answer = views(self._client, video)
            found.append((video, answer["views"]))
            complete_through = answer["complete_through"]
        found.sort(key=lambda each: -each[1])
        return Counts(found, complete_through)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def views(client: httpx2.Client, video_id: str) -> dict[str, Any]:
    """The query service's answer for a video. Raises httpx2.HTTPError."""
    response = client.get(f"/v1/videos/{quote(video_id, safe='')}/views")
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
