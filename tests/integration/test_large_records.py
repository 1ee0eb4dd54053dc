"""Records as large as the topic takes: neither many at once nor one full of late events may end the job."""

import struct
from collections.abc import Iterator
from itertools import count as count_from
from itertools import islice

import pytest
from confluent_kafka import Producer

from connectors.compacted_topic import read_to_end
from schemas import registry
from schemas.topics import RECORD_BYTES_MAX
from tests.support.installation import Installation
from tests.support.records import Feeder, View, count, salt_of
from tests.support.waiting import eventually
from tools.replay.letters import Origin, read_letters
from tools.stack import Stack

RECORDS = 80
HOUR_MS = 3_600_000
START_MS = 1_767_268_800_000


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "large-records", {}, trusted_times=True) as made:
        yield made


def full_of_late_events(salts: int) -> tuple[bytes, bytes]:
    """A record of salt 0 as large as the topic takes, of events of an hour before; and its key."""
    event = {"video_id": "v" * 64, "viewed_at": START_MS, "kind": "k", "device": "d" * 64, "country": "c" * 60}
    at = {"salt": 0, "salts": salts, "produced_at": START_MS + HOUR_MS}
    head = {"batch_id": bytes(16), "producer_id": "test", **at}
    one, two = (
        len(registry.encode("ViewBatch", {**head, "events": [{**event, "event_id": bytes(16)}] * number}))
        for number in (1, 2)
    )
    number = (RECORD_BYTES_MAX - one - 1024) // (two - one)
    ids = (identity.to_bytes(16, "big") for identity in count_from(1))
    mine = islice((identity for identity in ids if salt_of(identity, salts) == 0), number)
    value = registry.encode("ViewBatch", {**head, "events": [{**event, "event_id": identity} for identity in mine]})
    assert RECORD_BYTES_MAX - 2048 < len(value) < RECORD_BYTES_MAX
    return value, struct.pack(">I", 0)


@pytest.mark.nightly
def test_a_flood_of_the_largest_records_is_dead_lettered_without_a_restart(installation: Installation) -> None:
    kafka, salts = installation.settings.kafka, installation.settings.counting.salts
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "compression.type": "lz4",
            "message.max.bytes": 2 * RECORD_BYTES_MAX,
            "queue.buffering.max.kbytes": 1 << 20,
        }
    )
    value = bytes(RECORD_BYTES_MAX - 1024)
    for number in range(RECORDS):
        salt = number % salts
        producer.produce(
            kafka.events_topic, value, struct.pack(">I", salt), partition=salt % kafka.partitions, timestamp=1
        )
        producer.poll(0)
    assert producer.flush(120) == 0
    feeder = Feeder(installation.settings)
    views = [View("v", START_MS) for _ in range(100)]
    feeder.send(views, START_MS + 1)
    job = installation.start(parallelism=2)
    assert eventually(lambda: installation.views() == count(views)), installation.views()
    assert eventually(lambda: installation.ledger()["unreadable_records"] == RECORDS), installation.ledger()
    assert installation.restarts(job) == 0

    # One letter for all of them would be larger than its topic takes.
    producer.produce(kafka.events_topic, *full_of_late_events(salts), partition=0, timestamp=START_MS + HOUR_MS)
    assert producer.flush(120) == 0
    assert eventually(lambda: installation.ledger()["late"] > 0), installation.ledger()

    def letters() -> list[bytes]:
        return [record.value or b"" for record in read_to_end(kafka, kafka.late_topic, 60)]

    # At least once: a letter may come again with a checkpoint that failed.
    assert eventually(lambda: sum(map(len, letters())) > RECORD_BYTES_MAX)
    found = [one for letter in letters() for one in read_letters("late", letter, Origin("", 0, 0, -1))]
    assert len(letters()) > 1
    assert {one.origin.index for one in found} == set(range(installation.ledger()["late"]))
    assert len({(one.origin.topic, one.origin.partition, one.origin.offset) for one in found}) == 1
    assert installation.restarts(job) == 0
