"""Checks, when the count job is submitted, whether Kafka still has all records that the job has not read."""

import time
from datetime import UTC, datetime

from confluent_kafka import KafkaException

from connectors.kafka_gaps import Lost, lost_before, total
from jobs.in_cassandra import in_cassandra
from settings import Settings
from udfs.sinks.missing_records import MissingRecords

# The consumer group under which the job's source commits its offsets.
GROUP = "view-counts"


def tell_missing(settings: Settings) -> None:
    """Print which unread records Kafka has deleted, and keep them for the query service. The job starts anyway.

    The check goes by the committed offsets. If the job starts from a savepoint older than the last checkpoint, it may
    lack further records, which this check does not see.
    """
    kafka = settings.kafka
    try:
        lost = lost_before(kafka, kafka.events_topic, GROUP, kafka.partitions)
    except (KafkaException, TimeoutError) as error:
        print(f"Kafka did not say whether it still has all unread records: {error}")
        return
    if not lost:
        return
    for line in sentences(lost, kafka.events_topic):
        print(line)
    now = datetime.fromtimestamp(time.time(), UTC)
    skew_ms = settings.counting.future_skew_ms
    otherwise = "the missing records are not written to Cassandra, so answers will not name them"
    in_cassandra(settings, lambda session: MissingRecords(session).write(lost, now, skew_ms), otherwise)


def sentences(lost: list[Lost], topic: str) -> list[str]:
    """What operators read: a line for each range of offsets, and a last line with the sum and the remedy."""
    lines = [
        f"partition {one.partition} of {topic}: {one.number} records, offsets {one.first} to {one.next - 1}, were not "
        "read, and Kafka has deleted them"
        for one in lost
    ]
    remedy = "check the topic's retention and how long the job was down; the rollup adds the records in the archive"
    return [*lines, f"{total(lost)} records are missing in the minutes: {remedy}"]
