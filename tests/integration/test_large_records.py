"""Records as large as the topic takes, many at once: what is on its way to the Python workers must not end the job."""

import struct
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from schemas.topics import RECORD_BYTES_MAX
from tests.support.installation import Installation
from tests.support.records import Feeder, View, count
from tests.support.waiting import eventually
from tools.stack import Stack

RECORDS = 80


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "large-records", {}, trusted_times=True) as made:
        yield made


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
    views = [View("v", 0) for _ in range(100)]
    feeder.send(views, 1)
    job = installation.start(parallelism=2)
    assert eventually(lambda: installation.views() == count(views)), installation.views()
    assert eventually(lambda: installation.ledger()["unreadable_records"] == RECORDS), installation.ledger()
    assert installation.restarts(job) == 0
