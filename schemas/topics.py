"""Every Kafka topic of the product, and what a broker must promise of each: the list that creates and checks them."""

from dataclasses import dataclass
from typing import Literal

from settings import Settings
from settings.durations import DAY_MS

RECORD_BYTES_MAX = 4 << 20
# A dead letter carries a whole record and its origin.
DEAD_LETTER_BYTES_MAX = RECORD_BYTES_MAX + (1 << 16)
# Late events and dead letters.
REJECTED_RETENTION_MS = 30 * DAY_MS
# Kafka deletes whole segments: so much longer than its retention a record may stay.
SEGMENT_MS = DAY_MS
# In-sync replicas that must have a record before it is acknowledged, where there are so many.
IN_SYNC_MIN = 2

Rule = Literal["equal", "at_least", "at_most"]


@dataclass(frozen=True)
class Promise:
    """One configuration of a topic: what it is created with, and what else would do.

    `why` completes the sentence "otherwise ...". Where `needed`, nobody who counts or writes goes on without it; else
    the difference is only said.
    """

    name: str
    value: str
    why: str
    rule: Rule = "equal"
    needed: bool = True

    def is_kept_by(self, found: str) -> bool:
        """Whether a topic with this value keeps the promise. Of a list of words, as policies are, the order is free."""
        if self.rule == "equal":
            return sorted(found.split(",")) == sorted(self.value.split(","))
        at_least = self.rule == "at_least"
        # -1 stands for "without limit".
        found_n, value_n = (float("inf") if n == -1 else n for n in (int(found), int(self.value)))
        return found_n >= value_n if at_least else found_n <= value_n


@dataclass(frozen=True)
class Topic:
    """One topic: how many partitions it is created with, and what is promised of it. `needed` as of a promise."""

    name: str
    partitions: int
    promises: tuple[Promise, ...]
    needed: bool = True

    @property
    def config(self) -> dict[str, str]:
        """What it is created with."""
        return {promise.name: promise.value for promise in self.promises}


def topics(settings: Settings) -> tuple[Topic, ...]:
    """The topics of an installation with these settings, that of the events first."""
    kafka = settings.kafka
    # A record that was acknowledged is there, whichever broker is lost.
    safe = (
        Promise(
            "min.insync.replicas",
            str(min(IN_SYNC_MIN, kafka.replication_factor)),
            "a record can be acknowledged by one broker alone and be lost with it",
            "at_least",
        ),
        Promise(
            "unclean.leader.election.enable",
            "false",
            "a broker that lacks acknowledged records can become leader, and they are lost",
        ),
    )
    short_segments = Promise(
        "segment.ms", str(SEGMENT_MS), "records stay longer than the erasure's report says", "at_most", needed=False
    )
    return (
        Topic(
            kafka.events_topic,
            kafka.partitions,
            (
                Promise(
                    "message.timestamp.type",
                    "LogAppendTime",
                    "each client's clock would be the clock of every counting rule",
                ),
                Promise("cleanup.policy", "delete", "Kafka would keep one record of each salt and drop the others"),
                Promise(
                    "retention.ms",
                    str(kafka.retention_ms),
                    "events are lost when a job is away for longer",
                    "at_least",
                ),
                Promise("retention.bytes", "-1", "events would leave by size, however new they are"),
                Promise(
                    "max.message.bytes",
                    str(RECORD_BYTES_MAX),
                    "Kafka would refuse a full batch of events",
                    "at_least",
                ),
                short_segments,
                *safe,
            ),
        ),
        *(
            Topic(
                name,
                kafka.partitions,
                (
                    Promise("cleanup.policy", "delete", "Kafka would refuse letters, which have no key"),
                    Promise(
                        "retention.ms",
                        str(REJECTED_RETENTION_MS),
                        "letters are gone before anybody has replayed them",
                        "at_least",
                        needed=False,
                    ),
                    short_segments,
                    Promise(
                        "max.message.bytes",
                        str(DEAD_LETTER_BYTES_MAX),
                        "Kafka would refuse the letter of a large record, and the job would end of it",
                        "at_least",
                    ),
                    *safe,
                ),
            )
            for name in (kafka.late_topic, kafka.dead_letter_topic)
        ),
        Topic(
            kafka.metadata_topic,
            1,
            (Promise("cleanup.policy", "compact", "what is known of a video would be gone after some days"), *safe),
            needed=False,
        ),
        Topic(
            kafka.blocked_topic,
            1,
            (
                Promise("cleanup.policy", "compact", "a viewer would no longer be blocked after some days"),
                # The time of a record is when it could first be known.
                Promise(
                    "message.timestamp.type",
                    "LogAppendTime",
                    "a block could be dated back, and a replay would decide otherwise",
                ),
                *safe,
            ),
        ),
        Topic(
            kafka.counts_topic,
            kafka.partitions,
            (
                Promise(
                    "retention.ms",
                    str(kafka.counts_retention_ms),
                    "consumers that are away for long miss changes of counts",
                    "at_least",
                    needed=False,
                ),
            ),
            needed=False,
        ),
        Topic(
            kafka.declaration_topic,
            1,
            (Promise("cleanup.policy", "compact", "the declaration would be gone after some days"), *safe),
        ),
    )
