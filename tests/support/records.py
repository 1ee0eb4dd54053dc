"""Makes view-events records and keeps what they must lead to. Encodes by fastavro, places events by mmh3."""

import struct
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import mmh3
from confluent_kafka import KafkaError, Message, Producer

from settings import Settings
from tests.support.batch_versions import VERSIONS, encode_batch
from tests.support.installation import Cell

MINUTE_MS = 60_000


def salt_of(event_id: bytes, salts: int) -> int:
    """The salt of an event id, as any producer must compute it."""
    return int(mmh3.hash(event_id, 0, signed=False) % salts)


@dataclass(frozen=True, slots=True)
class View:
    """One view. `again(viewed_at)` is the same event, stamped anew."""

    video_id: str
    viewed_at: int
    kind: str = "view"
    event_id: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    viewer_id: str | None = None
    country: str | None = None
    device: str | None = None

    @property
    def cell(self) -> Cell:
        """Where it counts, if it does."""
        return self.video_id, self.kind, self.viewed_at // MINUTE_MS

    def again(self, viewed_at: int) -> Self:
        """The same event with another time."""
        return replace(self, viewed_at=viewed_at)


def count(views: Iterable[View]) -> dict[Cell, int]:
    """What these views, each counted once, must lead to."""
    return dict(Counter(view.cell for view in views))


class Feeder:
    """Writes batches to an installation's events topic and counts records and events sent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(
            {"bootstrap.servers": settings.kafka.bootstrap_servers, "acks": "all", "enable.idempotence": True}
        )
        self._failed: list[KafkaError] = []
        self.records = 0
        self.events = 0

    def send(self, views: Iterable[View], append_ms: int = 0) -> None:
        """One record a salt, empty ones (heartbeats) included; `append_ms` is their time on a CreateTime topic.

        Returns when Kafka has acknowledged all.
        """
        salts = self._settings.counting.salts
        by_salt: dict[int, list[View]] = {salt: [] for salt in range(salts)}
        for view in views:
            by_salt[salt_of(view.event_id, salts)].append(view)
        for salt, mine in by_salt.items():
            self._produce(salt, mine, append_ms)
        self._producer.flush()
        assert not self._failed, self._failed

    def _produce(self, salt: int, views: list[View], append_ms: int) -> None:
        batch = {
            "batch_id": uuid.uuid4().bytes,
            "producer_id": "test",
            "salt": salt,
            "salts": self._settings.counting.salts,
            # Of a topic with the broker's clock, now: a batch that names no time moves no clock.
            "produced_at": append_ms or time.time_ns() // 1_000_000,
            "events": [
                {
                    "event_id": v.event_id,
                    "video_id": v.video_id,
                    "viewed_at": v.viewed_at,
                    "kind": v.kind,
                    "viewer_id": v.viewer_id,
                    "country": v.country,
                    "device": v.device,
                }
                for v in views
            ],
        }
        self._producer.produce(
            self._settings.kafka.events_topic,
            # Producers of all versions write to one topic, and to each salt.
            encode_batch(batch, VERSIONS[(salt + self.records // self._settings.counting.salts) % len(VERSIONS)]),
            struct.pack(">I", salt),
            partition=salt % self._settings.kafka.partitions,
            timestamp=append_ms,
            on_delivery=self._delivered,
        )
        self.records += 1
        self.events += len(views)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
