"""Every Kafka topic of the product: name, partitions, clock, retention. The one list that creates them."""

from dataclasses import dataclass, field

from settings import Settings
from settings.durations import DAY_MS

RECORD_BYTES_MAX = 4 << 20
# A dead letter carries a whole record and its origin.
DEAD_LETTER_BYTES_MAX = RECORD_BYTES_MAX + (1 << 16)
# Late events and dead letters.
REJECTED_RETENTION_MS = 30 * DAY_MS
# Kafka deletes whole segments: so much longer than its retention a record may stay.
SEGMENT_MS = DAY_MS


@dataclass(frozen=True)
class Topic:
    """One topic and what it is created with."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def topics(settings: Settings) -> tuple[Topic, ...]:
    """The topics of an installation with these settings."""
    kafka = settings.kafka
    return (
        Topic(
            kafka.events_topic,
            kafka.partitions,
            {
                # The broker's clock, not a client's, is the clock of every counting rule.
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": str(kafka.retention_ms),
                "segment.ms": str(SEGMENT_MS),
                "max.message.bytes": str(RECORD_BYTES_MAX),
            },
        ),
        *(
            Topic(
                name,
                kafka.partitions,
                {
                    "retention.ms": str(REJECTED_RETENTION_MS),
                    "segment.ms": str(SEGMENT_MS),
                    "max.message.bytes": str(DEAD_LETTER_BYTES_MAX),
                },
            )
            for name in (kafka.late_topic, kafka.dead_letter_topic)
        ),
        Topic(kafka.metadata_topic, 1, {"cleanup.policy": "compact"}),
        # The time of a record is when it could first be known.
        Topic(kafka.blocked_topic, 1, {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}),
        Topic(kafka.counts_topic, kafka.partitions, {"retention.ms": str(kafka.counts_retention_ms)}),
    )
