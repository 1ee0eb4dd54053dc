"""Reads letters from Kafka, and sends events to it."""

import time
from collections.abc import Iterator, Sequence

from connectors.compacted_topic import read_to_end
from connectors.installation import check_topics
from schemas.view_records import Origin
from settings import Settings
from tools.replay.letters import DIVERTED, Choice, Letter, diverted_letter, read_letters
from tools.replay.letters import Origin as Place
from udfs.logic.wire.single_events import Origin as Places
from udfs.logic.wire.single_events import Packer
from udfs.sinks.kafka_writer import KafkaWriter

PRODUCER_ID = "replay"
READ_TIMEOUT_S = 30.0


def letters(settings: Settings, choice: Choice) -> Iterator[Letter]:
    """All letters that the chosen topics had when this was called, with repeats.

    Raises confluent_kafka.KafkaException.
    """
    kafka = settings.kafka
    topics = {"late": kafka.late_topic, "dead-letter": kafka.dead_letter_topic}
    for kept in sorted(choice.kept - {DIVERTED}):
        topic = topics[kept]
        for record in read_to_end(kafka, topic, READ_TIMEOUT_S):
            yield from read_letters(kept, record.value or b"", Place(topic, record.partition, record.offset, -1))
    if DIVERTED in choice.kept:
        topic = kafka.diverted_topic
        for record in read_to_end(kafka, topic, READ_TIMEOUT_S):
            place = Place(topic, record.partition, record.offset, -1)
            yield diverted_letter(record.value or b"", place, record.at_ms)


def batches(settings: Settings, datums: Sequence[bytes], now_ms: int) -> list[tuple[int, bytes, int]]:
    """These events of version 2 as ViewBatch values, by the salts of their ids, as (salt, value, number of events)."""
    packer = Packer(
        settings.counting.salts,
        settings.ingest.batch_events_max,
        has_tails=True,
        producer_id=PRODUCER_ID,
        made_by=Origin.REPLAY,
    )
    # The place is needed only for events without an id or a time.
    nowhere = [0] * len(datums)
    packed = packer.pack(datums, Places(nowhere, nowhere, nowhere), now_ms)
    assert not packed.refused, packed.refused[:3]
    return packed.batches


def send_events(settings: Settings, datums: Sequence[bytes]) -> int:
    """Write planned events to the events topic. Returns the number of records when Kafka has acknowledged all.

    Raises TopicMismatchError before anything is written, and what udfs.sinks.kafka_writer raises. After an error, send
    all events again; none counts twice.
    """
    kafka = settings.kafka
    check_topics(settings)
    made = batches(settings, datums, time.time_ns() // 1_000_000)
    KafkaWriter(kafka).send(
        (kafka.events_topic, value, salt.to_bytes(4, "big"), salt % kafka.partitions) for salt, value, _ in made
    )
    return len(made)
