"""What is looked at when the count job is submitted: whether Kafka still has all that it has not read."""

import time
from datetime import UTC, datetime

from confluent_kafka import KafkaException

from connectors.kafka_gaps import Lost, lost_before, total
from jobs.in_cassandra import in_cassandra
from settings import Settings
from udfs.sinks.missing_records import MissingRecords

# As the source commits what it has read.
GROUP = "view-counts"


def tell_missing(settings: Settings) -> None:
    """Says, and keeps for the query service, what Kafka has no longer; the job starts all the same.

    What an older savepoint than the last checkpoint has not read besides, this does not see.
    """
    kafka = settings.kafka
    try:
        lost = lost_before(kafka.bootstrap_servers, kafka.events_topic, GROUP, kafka.partitions)
    except (KafkaException, TimeoutError) as error:
        print(f"nobody knows whether Kafka still has all that was not read: {error}")
        return
    if not lost:
        return
    for line in sentences(lost, kafka.events_topic):
        print(line)
    now = datetime.fromtimestamp(time.time(), UTC)
    skew_ms = settings.counting.future_skew_ms
    in_cassandra(settings, lambda session: MissingRecords(session).write(lost, now, skew_ms), "answers will not say so")


def sentences(lost: list[Lost], topic: str) -> list[str]:
    """For operators."""
    lines = [
        f"partition {one.partition} of {topic}: {one.number} records, offsets {one.first} to {one.next - 1}, were not "
        "read, and Kafka has them no longer"
        for one in lost
    ]
    remedy = "see retention and outages; the rollup adds those that the archive has"
    return [*lines, f"{total(lost)} records are missing in the minutes: {remedy}"]
