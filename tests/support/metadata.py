"""Writes to an installation's metadata topic, and reads what became of it in the tables."""

from collections.abc import Mapping

from confluent_kafka import Producer

from schemas import registry
from tests.support.installation import Installation

CREATED_MS = 1_582_977_600_000


class Publisher:
    """A producer of metadata."""

    def __init__(self, installation: Installation) -> None:
        self._topic = installation.settings.kafka.metadata_topic
        self._producer = Producer({"bootstrap.servers": installation.settings.kafka.bootstrap_servers, "acks": "all"})

    def raw(self, key: bytes | None, value: bytes | None) -> None:
        """One record as it is."""
        self._producer.produce(self._topic, value, key)
        assert self._producer.flush(30) == 0

    def titles(self, titles: Mapping[str, str]) -> None:
        """A record for each video, in their order."""
        for video_id, title in titles.items():
            about = {"channel_id": "c-1", "channel_name": "Chännel", "created_at": CREATED_MS}
            value = registry.encode("VideoMetadata", {"video_id": video_id, "title": title, **about})
            self._producer.produce(self._topic, value, video_id.encode())
        assert self._producer.flush(30) == 0


def titles(installation: Installation) -> dict[tuple[str, str], str | None]:
    """Of minute partitions, by video and kind."""
    rows = installation.session.execute("SELECT DISTINCT video_id, kind, day, title FROM views_by_minute")
    return {(row.video_id, row.kind): row.title for row in rows}
