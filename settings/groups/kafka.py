"""Kafka's address and topics."""

from pydantic import Field

from settings.durations import DAY_MS, MINUTE_MS
from settings.groups.base import Group


class KafkaSettings(Group):
    """The address of Kafka and the names of its topics."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="Brokers as host:port, separated by commas."
    )
    events_topic: str = Field("view-events", description="The topic of batches of events, keyed by salt.")
    late_topic: str = Field("view-events-late", description="The topic of late events, with their origin.")
    dead_letter_topic: str = Field(
        "view-events-dead-letter", description="The topic of dead letters: what could not be counted, and why."
    )
    metadata_topic: str = Field("video-metadata", description="The compacted topic of video metadata.")
    blocked_topic: str = Field(
        "blocked-viewers", description="The compacted topic of the block list: when views of a viewer do not count."
    )
    counts_topic: str = Field(
        "view-counts", description="The topic of counts as they change, with the metadata of their videos."
    )
    declaration_topic: str = Field(
        "view-counts-declaration",
        description="The compacted topic that says how many salts and partitions the events topic has. All processes "
        "compare their settings with it.",
    )
    partitions: int = Field(
        4, ge=1, description="The number of partitions of the events topic. Each salt belongs to one of them."
    )
    replication_factor: int = Field(1, ge=1, description="The number of replicas of each topic: 3 on a cluster.")
    retention_ms: int = Field(7 * DAY_MS, ge=MINUTE_MS, description="The retention of the events topic.")
    counts_retention_ms: int = Field(DAY_MS, ge=MINUTE_MS, description="The retention of the topic view-counts.")
