"""The events of the benchmarks, and the topics with them, in the form that each contender reads.

There is one seeded stream. Every topic has the first part of it, in the same order and with the same record timestamps,
as batches of its own size or as single events. No event is late, invalid or repeated with a new time. So contenders
with different rules for these must have the same counts, and the truth needs no rules.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from benchmarks.inputs.encoding import plain_batches, plain_events, viewer_batches
from tools.load import Block, KafkaSender, Plan, Traffic, TrafficSource
from tools.load.encoding import heartbeat, records
from tools.load.prediction import Cells, cells
from tools.load.vocabulary import Names

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# A block is one step of time. It has just under 2,000 events for each of 16 salts, so that a batch of up to 2,000
# nearly always has all events of a salt in it.
BLOCK_EVENTS_PER_SALT = 1937
EVENTS_PER_MINUTE = 60_000
# How many events are added up at a time.
TRUTH_EVENTS = 16_000_000
HEARTBEATS_AFTER_MS = HOUR_MS // 2
TRAFFIC = Traffic(
    seed=11, restamped_share=0.0, delayed_share=0.0, late_share=0.0, future_share=0.0, duplicate_share=0.05
)
# Fresh events are out of order by up to this.
DISORDER_MS = TRAFFIC.disorder_ms

Encoded = Iterable[tuple[int, bytes, int]]
"""(salt, record value, number of events in it)"""


@dataclass
class Topic:
    """A topic to fill with the first `events` events of the stream. `encode` makes records of a block."""

    name: str
    events: int
    encode: Callable[[Block, Names], Encoded]
    # Whether each salt gets a heartbeat at the end, with a later time, so that the count job closes every minute.
    # Before the end no salt needs one. Plain Avro has no heartbeats.
    has_heartbeats: bool = False
    events_by_record: dict[int, list[int]] = field(default_factory=dict)
    fresh: int = 0

    def events_until(self) -> dict[int, npt.NDArray[np.int64]]:
        """By partition an array: element o is the number of events in the records up to offset o."""
        return {p: np.cumsum(sizes, dtype=np.int64) for p, sizes in self.events_by_record.items()}

    @property
    def filled(self) -> int:
        """How many events were sent."""
        return sum(map(sum, self.events_by_record.values()))

    @property
    def events_per_record(self) -> float:
        """The mean number of events in a record, without heartbeats."""
        sizes = [size for of_partition in self.events_by_record.values() for size in of_partition if size]
        return sum(sizes) / len(sizes)


def batches_topic(name: str, events: int, events_per_batch: int) -> Topic:
    """A topic of ViewBatch records, for the count job."""

    def encode(block: Block, videos: Names) -> Iterator[tuple[int, bytes, int]]:
        for record in records(block, videos, events_per_batch=events_per_batch):
            yield record.salt, record.value, record.events

    return Topic(name, events, encode, has_heartbeats=True)


def plain_batches_topic(name: str, events: int, events_per_batch: int) -> Topic:
    """A topic of plain Avro arrays, for UNNEST."""
    return Topic(name, events, lambda block, videos: plain_batches(block, videos, events_per_batch=events_per_batch))


def viewer_batches_topic(name: str, events: int, events_per_batch: int) -> Topic:
    """A topic of plain Avro arrays with viewers and countries."""
    return Topic(name, events, lambda block, videos: viewer_batches(block, videos, events_per_batch=events_per_batch))


def single_topic(name: str, events: int) -> Topic:
    """A topic with one event in each record, in plain Avro."""
    return Topic(name, events, lambda block, videos: ((salt, value, 1) for salt, value in plain_events(block, videos)))


class Stream:
    """Makes the events once, and fills every topic with them."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        partitions: int,
        traffic: Traffic = TRAFFIC,
        events_per_minute: int = EVENTS_PER_MINUTE,
        start_ms: int | None = None,
        heartbeats_after_ms: int = HEARTBEATS_AFTER_MS,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._partitions = partitions
        self._events_per_minute = events_per_minute
        self._start_ms = start_ms
        self._heartbeats_after_ms = heartbeats_after_ms
        self._source = TrafficSource(traffic)

    @property
    def videos(self) -> list[str]:
        """Every video of the events."""
        return self._source.good_videos

    def fill(self, topics: Iterable[Topic]) -> None:
        """Create the topics, which keep the sender's timestamps, and send the events. Call it once."""
        topics = list(topics)
        admin = AdminClient({"bootstrap.servers": self._bootstrap_servers})
        config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "max.message.bytes": str(4 << 20)}
        wanted = [NewTopic(t.name, num_partitions=self._partitions, config=config) for t in topics]
        for future in admin.create_topics(wanted).values():
            future.result()
        most = max(topic.events for topic in topics)
        # Kafka refuses timestamps an hour ahead of its own clock, so the events end an hour before now.
        span_ms = most * MINUTE_MS // self._events_per_minute
        newest_start_ms = (int(time.time() * 1000) - span_ms - HOUR_MS) // HOUR_MS * HOUR_MS
        start_ms = newest_start_ms if self._start_ms is None else self._start_ms
        salts = TRAFFIC.salts
        senders = {
            t.name: KafkaSender(self._bootstrap_servers, t.name, partitions=self._partitions, salts=salts)
            for t in topics
        }
        for topic in topics:
            topic.events_by_record = {p: [] for p in range(self._partitions)}
        sent = 0
        now_ms = start_ms
        while sent < most:
            n = BLOCK_EVENTS_PER_SALT * salts
            now_ms = start_ms + (sent + n) * MINUTE_MS // self._events_per_minute
            block = self._source.block(n, now_ms)
            sent += n
            for topic in topics:
                # Topics get only whole blocks, so that batches have the same events in every topic.
                if block.first < topic.events:
                    self._send(senders[topic.name], topic, topic.encode(block, self._source.videos), now_ms)
        for topic in topics:
            if topic.has_heartbeats:
                end_ms = now_ms + self._heartbeats_after_ms
                beats = [(s, heartbeat(s.to_bytes(16, "big"), s, salts, end_ms).value, 0) for s in range(salts)]
                self._send(senders[topic.name], topic, beats, end_ms)
            senders[topic.name].flush()
            events = self._source.events[: topic.filled]
            topic.fresh = int((events["plan"] == Plan.FRESH).sum())

    def truth(self, events: int) -> Cells:
        """The right counts of the first `events` events, by (video, kind, minute since 1970)."""
        found: Counter[tuple[str, str, int]] = Counter()
        for begin in range(0, events, TRUTH_EVENTS):
            some = self._source.events[begin : min(begin + TRUTH_EVENTS, events)]
            found.update(cells(some[some["plan"] == Plan.FRESH], self._source.videos))
        return dict(found)

    def _send(self, sender: KafkaSender, topic: Topic, encoded: Encoded, now_ms: int) -> None:
        for salt, value, events in encoded:
            sender.send(salt, value, timestamp_ms=now_ms)
            topic.events_by_record[salt % self._partitions].append(events)
