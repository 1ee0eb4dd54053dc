"""What ingest acknowledges is on two brokers, of three: with one alone it takes nothing (adversary's finding A4)."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka import KafkaConsumer

from connectors.installation import ensure_topics
from schemas.registry import decode
from settings import KafkaSettings, Settings
from tests.support.brokers import Broker, brokers
from tests.support.services import service
from tests.support.waiting import eventually
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import free_ports

BROKERS = 3
DELIVERY_TIMEOUT_MS = 3000
# The stack has made those of the usual names, on the one broker that it has.
TOPICS = {
    f"{name}_topic": f"three-{name.replace('_', '-')}"
    for name in ("events", "declaration", "late", "dead_letter", "diverted", "metadata", "blocked", "counts")
}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(StackOptions(home=tmp_path / "stack", ports="free", parts=("kafka",), graceful_stop=False)) as running:
        yield running


class Ingest:
    """Sends to one process of ingest."""

    def __init__(self, http: httpx2.Client) -> None:
        self.accepted: set[uuid.UUID] = set()
        self._http = http

    def send(self, events: int = 20) -> int:
        """The answer's status; what it says is acknowledged is noted."""
        ids = [uuid.uuid4() for _ in range(events)]
        now_ms = time.time_ns() // 1_000_000
        body = {"events": [{"event_id": str(one), "video_id": "A", "viewed_at": now_ms} for one in ids]}
        try:
            answer = self._http.post("/v1/events", json=body)
        except httpx2.TransportError:
            return 0
        if answer.status_code == 202:
            self.accepted |= set(ids)
        return answer.status_code


@contextmanager
def ingest_of(stack: Stack, servers: str) -> Iterator[Ingest]:
    """One process of ingest that knows all brokers."""
    environment = {
        **stack.process_environment(),
        "VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS": servers,
        "VIEW_COUNTS_KAFKA_REPLICATION_FACTOR": str(BROKERS),
        "VIEW_COUNTS_INGEST_DELIVERY_TIMEOUT_MS": str(DELIVERY_TIMEOUT_MS),
        "VIEW_COUNTS_INGEST_TOPICS_CHECK_S": "0.5",
        **{f"VIEW_COUNTS_KAFKA_{name.upper()}": topic for name, topic in TOPICS.items()},
    }
    with service("ingest", environment) as url, httpx2.Client(base_url=url, timeout=60) as http:
        yield Ingest(http)


def in_sync(servers: str, topic: str) -> set[int]:
    """How many brokers have all of it, by partition."""
    try:
        described = AdminClient({"bootstrap.servers": servers}).list_topics(topic, timeout=10).topics[topic]
    except KafkaException:
        return set()
    return {len(partition.isrs) for partition in described.partitions.values()}


def event_ids(servers: str, topic: str) -> set[uuid.UUID]:
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    consumer.poll(timeout_ms=5000, max_records=1, update_offsets=False)
    ends = consumer.end_offsets(consumer.assignment())
    found = set()
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for chunk in consumer.poll(timeout_ms=500).values():
            found |= {uuid.UUID(bytes=event["event_id"]) for one in chunk for event in decode(one.value)[1]["events"]}
    consumer.close()
    return found


def settings_of(servers: str) -> Settings:
    return Settings(kafka=KafkaSettings(bootstrap_servers=servers, replication_factor=BROKERS, **TOPICS))


def kill_all(others: list[Broker]) -> None:
    for one in others:
        one.kill()


@pytest.mark.nightly
def test_with_one_broker_of_three_nothing_is_acknowledged(stack: Stack, tmp_path: Path) -> None:
    ports = sorted(free_ports(("second", "third")).values())
    with brokers(stack, ports, tmp_path) as others:
        servers = ",".join([stack.endpoints["kafka"], *(one.address for one in others)])
        settings = settings_of(servers)
        topic = settings.kafka.events_topic
        admin = AdminClient({"bootstrap.servers": servers})
        assert eventually(lambda: len(admin.list_topics(timeout=10).brokers) == BROKERS)
        assert ensure_topics(settings) == []
        assert eventually(lambda: in_sync(servers, topic) == {BROKERS})
        with ingest_of(stack, servers) as ingest:
            assert eventually(lambda: ingest.send() == 202)

            others[0].kill()
            assert eventually(lambda: in_sync(servers, topic) == {2})
            assert eventually(lambda: ingest.send() == 202), "two brokers are enough"

            kill_all(others)
            assert eventually(lambda: in_sync(servers, topic) == {1})
            acknowledged = len(ingest.accepted)
            assert {ingest.send() for _ in range(5)} == {503}
            assert len(ingest.accepted) == acknowledged

            others[0].start()
            assert eventually(lambda: ingest.send() == 202), "it goes on by itself"
            assert ingest.accepted <= event_ids(servers, topic)
