"""Where the table's numbers come from: the ledger in Cassandra, the topic's end in Kafka, counts over HTTP.

Every part may be away at any moment and come back: its last answer stands meanwhile.
"""

import contextlib
import threading
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
from settings import Settings
from tools.demo.accounts import MINUTE_MS, Accounts, LedgerRow, Totals

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
    """Asks again and again in a thread of its own, so that a part that hangs holds up nothing else.

    `value` is the newest answer, None before the first; an error of AWAY is no answer.
    """

    def __init__(self, ask: Callable[[], Answer], interval_s: float, stopping: threading.Event) -> None:
        self.value: Answer | None = None
        self._ask = ask
        self._interval_s = interval_s
        self._stopping = stopping
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Ask for the first time, soon."""
        self._thread.start()

    def wait_first(self, timeout_s: float) -> None:
        """Wait for the first answer, or until the time is over."""
        self._answered.wait(timeout_s)

    def join(self) -> None:
        """Wait for the end of the question under way, after `stopping` was set."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(*AWAY):
                self.value = self._ask()
                self._answered.set()
            self._stopping.wait(self._interval_s)


class Judged(NamedTuple):
    """The job's account of all events so far, and the records of the topic that it has not accounted for yet."""

    totals: Totals
    lag_records: int


class JudgedSource:
    """Reads the ledger, and compares it with the topic's end.

    Lag is what is appended to the topic less the records in the ledger: it falls to zero only when every record
    is judged and its verdict is in Cassandra. Flink's own lag metric ends at the source and is refreshed every
    10 s. It holds while the ledger keeps all that was ever appended, 100 days (its TTL in schemas/cql).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts = Accounts()
        self._session: Any = None
        self._consumer: Consumer | None = None

    def read(self) -> Judged:
        """Raises one of AWAY."""
        # The topic's end first: the other way round, records judged in between would make the lag negative.
        end = self._appended()
        self._accounts.take(self._rows())
        totals = self._accounts.totals()
        return Judged(totals, max(0, end - totals.records))

    def close(self) -> None:
        """End both connections."""
        if self._session is not None:
            self._session.cluster.shutdown()
        if self._consumer is not None:
            self._consumer.close()

    def _appended(self) -> int:
        kafka = self._settings.kafka
        if self._consumer is None:
            # Joins no group and reads nothing: the group's name is only asked for. What it logs would go right
            # through the table, and a broker that is away shows as a lag that stands still.
            self._consumer = Consumer(
                {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "view-counts-demo", "log_level": 0}
            )
        partitions = [TopicPartition(kafka.events_topic, number) for number in range(kafka.partitions)]
        marks = [self._consumer.get_watermark_offsets(p, timeout=KAFKA_TIMEOUT_S) for p in partitions]
        if None in marks:
            raise KafkaException("the topic's end was not told in time")
        return sum(high for _, high in marks)

    def _rows(self) -> list[LedgerRow]:
        if self._session is None:
            session = connect(self._settings.cassandra)
            columns = ", ".join(("minute", *LedgerRow._fields[1:]))
            self._of_minute = session.prepare(f"SELECT {columns} FROM ledger WHERE minute = ?")
            self._all = session.prepare(f"SELECT {columns} FROM ledger")
            self._session = session
        first_ms = self._accounts.open_from_ms
        if first_ms is None:
            return [_row(row) for row in self._session.execute(self._all)]
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        # A broker's clock may be ahead of ours.
        minutes = [(minute,) for minute in range(first_ms, now_ms + 2 * MINUTE_MS, MINUTE_MS)]
        results = execute_concurrent_with_args(self._session, self._of_minute, minutes, concurrency=32)
        return [_row(row) for result in results for row in result.result_or_exc]


def _row(row: Any) -> LedgerRow:
    minute_ms = round(row.minute.replace(tzinfo=UTC).timestamp() * 1000)
    return LedgerRow(minute_ms, *row[1:])


class Counts(NamedTuple):
    """What the query service says of some videos: (video, views), most views first."""

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
