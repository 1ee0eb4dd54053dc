"""Every record of the events topic lies in the object store, as it was, though a TaskManager is killed on the way."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from schemas.registry import UnknownSchemaError, decode
from tests.support.free_register import register_of
from tests.support.installation import Installation
from tests.support.jobs import cancel_all
from tests.support.records import MINUTE_MS, Feeder, View
from tests.support.waiting import eventually
from tools.erasure import Stores, erase, erase_again
from tools.recount.topic import read_topic
from tools.stack import Stack
from udfs.stores.archive import Archive, ArchiveFile, Record, filesystem
from udfs.stores.conditional_files import S3Files

HOUR_MS = 60 * MINUTE_MS
ARCHIVE_JOB = "jobs/archive_events.py"
# 2026-01-31 22:30 UTC: hours and a day end in what is sent.
START_MS = 1_769_898_600_000
VIEWER = "viewer-to-erase"


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "archived", {}, trusted_times=True) as made:
        yield made


class Archived:
    """The archive of an installation beside its topic."""

    def __init__(self, installation: Installation) -> None:
        self._settings = installation.settings
        self._archive = Archive(filesystem(self._settings.s3), self._settings.archive.path)

    def _all(self) -> Iterator[tuple[ArchiveFile, Record]]:
        for file in self._archive.files():
            for record in self._archive.read(file):
                yield file, record

    def copies(self) -> Counter[tuple[int, int]]:
        """How many files hold each (partition, offset)."""
        return Counter((file.partition, record.offset) for file, record in self._all())

    def records(self) -> dict[int, list[Record]]:
        """By partition, each record once."""
        files = self._archive.files()
        partitions = {file.partition for file in files}
        return {p: list(self._archive.read_partition(f for f in files if f.partition == p)) for p in sorted(partitions)}

    def topic(self) -> dict[int, list[Record]]:
        """What the topic holds."""
        kafka = self._settings.kafka
        found: dict[int, list[Record]] = {}
        for partition, offset, at_ms, key, value in read_topic(kafka.bootstrap_servers, kafka.events_topic):
            found.setdefault(partition, []).append(Record(offset, at_ms, key, value))
        return dict(sorted(found.items()))

    def hours_are_those_of_the_records(self) -> bool:
        return all(record.record_ms // HOUR_MS == file.hour for file, record in self._all())

    def hours(self) -> list[int]:
        return sorted({file.hour for file in self._archive.files()})

    def files_of(self, hours: list[int]) -> int:
        return len(self._archive.files(hours))


def send(installation: Installation, feeder: Feeder, minutes: range) -> None:
    for minute in minutes:
        at_ms = START_MS + minute * MINUTE_MS
        feeder.send([View(f"video-{n % 9}", at_ms, viewer_id=VIEWER if n < 3 else None) for n in range(200)], at_ms)


def anonymous(value: bytes | None) -> object:
    """What a record says, but for its viewers."""
    try:
        _, batch = decode(value or b"")
    except UnknownSchemaError:
        return value
    return batch | {"events": [event | {"viewer_id": event["viewer_id"] is not None} for event in batch["events"]]}


def check_erasure(installation: Installation, archived: Archived, events_min: int) -> None:
    """A viewer, who has this number of events, is erased from what Flink wrote, and all else stays the same."""
    records, settings = archived.records(), installation.settings
    stores = Stores(filesystem(settings.s3), S3Files(settings.s3), register_of(settings.history.path))
    report = erase(settings, stores, (VIEWER, "nobody"), datetime.now(UTC))
    assert (report.viewers[0].events >= events_min, report.viewers[1].events) == (True, 0)
    assert 0 < report.files_rewritten <= report.files_scanned
    erased = archived.records()
    for partition, mine in records.items():
        assert [record[:3] for record in erased[partition]] == [record[:3] for record in mine]
        for before, after in zip(mine, erased[partition], strict=True):
            assert anonymous(after.value) == anonymous(before.value)
            assert VIEWER.encode() not in (after.value or b"")
    assert erase_again(settings, stores, datetime.now(UTC)).files_rewritten == 0


def test_each_record_is_archived_though_its_taskmanager_is_killed(installation: Installation) -> None:
    stack = installation.stack
    feeder, archived = Feeder(installation.settings), Archived(installation)
    send(installation, feeder, range(30))
    installation.start(parallelism=2, script=ARCHIVE_JOB)
    assert eventually(lambda: sum(archived.copies().values()) > 0)
    stack.kill("taskmanager")
    send(installation, feeder, range(30, 60))
    assert eventually(lambda: archived.records() == archived.topic())
    assert sum(map(len, archived.records().values())) == feeder.records
    assert set(archived.copies().values()) == {1}
    cancel_all(stack)
    check_erasure(installation, archived, 180)


@pytest.mark.nightly
def test_records_are_archived_once_across_savepoints_and_parallelisms(installation: Installation) -> None:
    stack, kafka = installation.stack, installation.settings.kafka
    feeder, archived = Feeder(installation.settings), Archived(installation)
    send(installation, feeder, range(30))
    # Whatever a record is, it is copied.
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    for key, value in ((None, b"no key"), (b"a key", None), (b"", b""), (None, None)):
        producer.produce(kafka.events_topic, value, key, partition=1, timestamp=START_MS)
    assert producer.flush(30) == 0
    job = installation.start(parallelism=2, script=ARCHIVE_JOB)
    assert eventually(lambda: archived.records() == archived.topic())
    savepoint = stack.flink_stop(job)
    installation.start(parallelism=1, script=ARCHIVE_JOB, savepoint=savepoint)
    send(installation, feeder, range(30, 60))
    stack.kill("taskmanager")
    send(installation, feeder, range(60, 90))
    assert eventually(lambda: archived.records() == archived.topic())
    send(installation, feeder, range(90, 150))
    assert eventually(lambda: archived.records() == archived.topic())
    records = archived.records()
    assert sum(map(len, records.values())) == feeder.records + 4
    assert set(archived.copies().values()) == {1}
    assert archived.hours_are_those_of_the_records()
    hours = archived.hours()
    assert hours == [START_MS // HOUR_MS + n for n in range(3)]
    assert archived.files_of(hours[1:2]) > 0
    assert archived.files_of([hours[0] - 1]) == 0

    # From an older savepoint records are copied again; readers see them once.
    cancel_all(stack)
    installation.start(parallelism=1, script=ARCHIVE_JOB, savepoint=savepoint)
    assert eventually(lambda: max(archived.copies().values()) == 2)
    assert eventually(lambda: sum(archived.copies().values()) > sum(map(len, records.values())) * 1.5)
    assert archived.records() == records

    cancel_all(stack)
    # Some of the 450 were copied again.
    check_erasure(installation, archived, 451)
