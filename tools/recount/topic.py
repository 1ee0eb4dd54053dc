"""Reads whole topics with kafka-python, up to the end that they have at the start. Knows no rules."""

from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tools.recount.avro import UnreadableError, read

FETCH_BYTES_MAX = 32 << 20
POLL_MS = 1000
EMPTY_POLLS_MAX = 60

Place = tuple[int, int, int]


class TopicUnreadError(RuntimeError):
    """Kafka gave no more records before the end of the topic was reached, or there is no such topic."""


def _consumer(bootstrap_servers: str, topic: str) -> tuple[Any, list[Any]]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        max_poll_records=2000,
    )
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        consumer.close()
        raise TopicUnreadError(f"topic {topic} does not exist at {bootstrap_servers}")
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(partitions)
    return consumer, partitions


def end_offsets(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """The offset after the last record, by partition."""
    consumer, partitions = _consumer(bootstrap_servers, topic)
    try:
        return {partition.partition: end for partition, end in consumer.end_offsets(partitions).items()}
    finally:
        consumer.close()


def read_topic(bootstrap_servers: str, topic: str) -> Iterator[tuple[int, int, int, bytes | None, bytes | None]]:
    """(partition, offset, timestamp in ms, key, value) of every record. Raises TopicUnreadError."""
    consumer, partitions = _consumer(bootstrap_servers, topic)
    try:
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        empty = 0
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            polled = consumer.poll(timeout_ms=POLL_MS)
            empty = 0 if polled else empty + 1
            if empty > EMPTY_POLLS_MAX:
                raise TopicUnreadError(
                    f"topic {topic}: Kafka gave no record for {EMPTY_POLLS_MAX * POLL_MS / 1000:.0f} s"
                )
            for partition, records in polled.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record.partition, record.offset, record.timestamp, record.key, record.value
    finally:
        consumer.close()


def read_blocked(bootstrap_servers: str, topic: str) -> dict[bytes, list[tuple[int, int | None]]]:
    """The periods (from, until) of each blocked viewer, in append time in ms. An `until` of None means for good.

    The last record of a viewer replaces earlier ones.
    """
    found: dict[bytes, list[tuple[int, int | None]]] = {}
    for _, _, _, key, value in read_topic(bootstrap_servers, topic):
        if key is None:
            continue
        try:
            periods = read("BlockedViewer", value)["periods"] if value else []
        except UnreadableError:
            continue
        found[key] = [(one["effective_from"], one["effective_until"]) for one in periods]
    return found


def read_rejected(bootstrap_servers: str, topic: str, origin: str) -> dict[Place, tuple[str, bytes]]:
    """(reason, payload) of every event in a late or dead-letter topic, by its place in the topic `origin`.

    Repeats are dropped, and events of other topics are left out.
    """
    found: dict[Place, tuple[str, bytes]] = {}
    for _, _, _, _, value in read_topic(bootstrap_servers, topic):
        rejected = read("RejectedEvents", value or b"")
        if rejected["topic"].decode() != origin:
            continue
        for event in rejected["events"]:
            place = rejected["partition"], rejected["offset"], event["index"]
            found[place] = event["reason"].decode(), event["payload"]
    return found
