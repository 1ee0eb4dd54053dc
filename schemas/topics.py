"""Every Kafka topic of the product, and the configuration that each must have. Topics are created and checked by it."""

from dataclasses import dataclass
from typing import Literal

from settings import Settings
from settings.durations import DAY_MS

RECORD_BYTES_MAX = 4 << 20
# A dead letter holds a whole record and its origin.
DEAD_LETTER_BYTES_MAX = RECORD_BYTES_MAX + (1 << 16)
# The retention of late events and dead letters.
REJECTED_RETENTION_MS = 30 * DAY_MS
# Kafka deletes whole segments, so a record may stay for this time longer than its retention.
SEGMENT_MS = DAY_MS
# So many in-sync replicas must have a record before it is acknowledged, if the topic has so many replicas.
IN_SYNC_MIN = 2

Rule = Literal["equal", "at_least", "at_most"]


@dataclass(frozen=True)
class Promise:
    """One configuration of a topic. The topic is created with `value`, and `rule` says which other values will do.

    `why` completes the sentence "otherwise ...". If `needed` is true, jobs and services do not run with a topic that
    breaks the promise. Otherwise they only report it.
    """

    name: str
    value: str
    why: str
    rule: Rule = "equal"
    needed: bool = True

    def is_kept_by(self, found: str) -> bool:
        """Whether a topic with this value keeps the promise. The words of a list, such as policies, have any order."""
        if self.rule == "equal":
            return sorted(found.split(",")) == sorted(self.value.split(","))
        at_least = self.rule == "at_least"
        # -1 stands for "without limit".
        found_n, value_n = (float("inf") if n == -1 else n for n in (int(found), int(self.value)))
        return found_n >= value_n if at_least else found_n <= value_n


@dataclass(frozen=True)
class Topic:
    """One topic, the number of partitions with which it is created, and its promises.

    If `needed` is true, jobs and services do not run without the topic or if it breaks a needed promise.
    """

    name: str
    partitions: int
    promises: tuple[Promise, ...]
    needed: bool = True

    @property
    def config(self) -> dict[str, str]:
        """The configuration with which the topic is created, by name."""
        return {promise.name: promise.value for promise in self.promises}


def topics(settings: Settings) -> tuple[Topic, ...]:
    """The topics of an installation with these settings. The events topic is the first."""
    kafka = settings.kafka
    # With these, no acknowledged record is lost with any one broker.
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
        "segment.ms", str(SEGMENT_MS), "records stay longer than the report of an erasure says", "at_most", needed=False
    )
    bounded = Promise(
        "retention.bytes",
        str(kafka.rejected_bytes_max),
        "whoever may send events can fill the brokers' disks with what is never counted",
        "at_most",
        needed=False,
    )
    return (
        Topic(
            kafka.events_topic,
            kafka.partitions,
            (
                Promise(
                    "message.timestamp.type",
                    "LogAppendTime",
                    "all counting rules would go by the clocks of clients",
                ),
                Promise("cleanup.policy", "delete", "Kafka would keep one record of each salt and drop the others"),
                Promise(
                    "retention.ms",
                    str(kafka.retention_ms),
                    "events are lost when a job is away for longer",
                    "at_least",
                ),
                Promise("retention.bytes", "-1", "Kafka would delete even new events once the topic is large"),
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
                    Promise("cleanup.policy", "delete", "Kafka would refuse the records, because they have no key"),
                    Promise(
                        "retention.ms",
                        str(REJECTED_RETENTION_MS),
                        "Kafka deletes records before anybody has replayed them",
                        "at_least",
                        needed=False,
                    ),
                    bounded,
                    short_segments,
                    Promise(
                        "max.message.bytes",
                        str(DEAD_LETTER_BYTES_MAX),
                        "Kafka would refuse the dead letter of a large record, and the job would fail",
                        "at_least",
                    ),
                    *safe,
                ),
            )
            for name in (kafka.late_topic, kafka.dead_letter_topic)
        ),
        Topic(
            kafka.diverted_topic,
            kafka.partitions,
            (
                Promise("cleanup.policy", "delete", "Kafka would keep one record of each salt and drop the others"),
                Promise(
                    "retention.ms",
                    str(REJECTED_RETENTION_MS),
                    "Kafka deletes records before anybody has judged them",
                    "at_least",
                ),
                bounded,
                short_segments,
                Promise(
                    "max.message.bytes",
                    str(RECORD_BYTES_MAX),
                    "Kafka would refuse a full batch of events",
                    "at_least",
                ),
                *safe,
            ),
            # Only ingest writes to it, and only while a key is diverted.
            needed=False,
        ),
        Topic(
            kafka.metadata_topic,
            1,
            (Promise("cleanup.policy", "compact", "Kafka would delete video metadata after some days"), *safe),
            needed=False,
        ),
        Topic(
            kafka.blocked_topic,
            1,
            (
                Promise("cleanup.policy", "compact", "a viewer would no longer be blocked after some days"),
                # So the timestamp of a record is the time from which the job could know of the block.
                Promise(
                    "message.timestamp.type",
                    "LogAppendTime",
                    "a block could be dated back, and a replay would then judge events differently",
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
                    "consumers that are down for long miss changes of counts",
                    "at_least",
                    needed=False,
                ),
            ),
            needed=False,
        ),
        Topic(
            kafka.declaration_topic,
            1,
            (Promise("cleanup.policy", "compact", "Kafka would delete the declaration after some days"), *safe),
        ),
    )
