"""Views of a blocked viewer do not count from a time on and until another, on the first run and on every replay."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from schemas import registry
from tests.support.installation import PROMPT, Installation
from tests.support.records import MINUTE_MS, Feeder, View
from tests.support.waiting import eventually
from tools.recount import Recount, Rules
from tools.recount.topic import read_blocked, read_topic
from tools.stack import Stack

# 2026-01-01 00:00 UTC: append times are the test's own.
START_MS = 1_767_225_600_000


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "blocked-viewers", PROMPT, trusted_times=True) as made:
        yield made


def views(minute: int, number: int) -> list[View]:
    """So many of each viewer, viewed as the minute begins."""
    at_ms = START_MS + minute * MINUTE_MS
    return [
        View("video", at_ms, kind, viewer_id=viewer)
        for viewer in ("bot", "human", None)
        for kind in ("view", "like")
        for _ in range(number)
    ]


def block(installation: Installation, viewer: str, value: bytes | None) -> None:
    kafka = installation.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    producer.produce(kafka.blocked_topic, value, viewer.encode())
    assert producer.flush(30) == 0


def periods(viewer: str, *minutes: tuple[int, int | None]) -> bytes:
    listed = [
        {
            "effective_from": START_MS + begin * MINUTE_MS,
            "effective_until": None if end is None else START_MS + end * MINUTE_MS,
        }
        for begin, end in minutes
    ]
    return registry.encode("BlockedViewer", {"viewer_id": viewer, "periods": listed})


def totals(installation: Installation) -> dict[str, int]:
    """Views by kind."""
    found: dict[str, int] = {}
    for (_, kind, _), number in installation.views().items():
        found[kind] = found.get(kind, 0) + number
    return found


def test_views_count_but_while_their_viewer_is_blocked(installation: Installation) -> None:
    feeder = Feeder(installation.settings)
    # Known before the job starts: it must not judge a record before it has read the list.
    block(installation, "bot", periods("bot", (2, 4)))
    block(installation, "bad", b"no avro")
    # An older word, which comes again by the broadcast, must not follow the newer one.
    block(installation, "human", periods("human", (0, None)))
    block(installation, "human", periods("human"))
    sent = [views(minute, 10) for minute in range(8)]
    for minute in range(3):
        feeder.send(sent[minute], START_MS + minute * MINUTE_MS)
    # A repeat of a blocked view is a duplicate, and one with a reserved kind is nobody's.
    feeder.send([*sent[2], View("video", START_MS, "blocked:view")], START_MS + 2 * MINUTE_MS)
    job = installation.start(parallelism=2)
    expected = {"view": 80, "like": 80, "blocked:view": 10, "blocked:like": 10}
    assert eventually(lambda: totals(installation) == expected), totals(installation)

    # A change while it runs, and a restore in the middle, from a state that is older than the change.
    block(installation, "bot", periods("bot", (2, 4), (6, None)))
    for minute in range(3, 6):
        feeder.send(sent[minute], START_MS + minute * MINUTE_MS)
    savepoint = installation.stack.flink_stop(job)
    block(installation, "human", periods("human", (7, None)))
    for minute in range(6, 8):
        feeder.send(sent[minute], START_MS + minute * MINUTE_MS)
    job = installation.start(parallelism=1, savepoint=savepoint)
    # bot: minutes 2 and 3, 6 and 7; human: 7.
    expected = {"view": 190, "like": 190, "blocked:view": 50, "blocked:like": 50}
    assert eventually(lambda: totals(installation) == expected), totals(installation)
    fates = {"received": 541, "counted": 380, "duplicate": 60, "blocked": 100, "dead_lettered": 1}
    assert eventually(lambda: installation.fates() == fates), installation.fates()

    kafka = installation.settings.kafka
    recount = Recount(
        Rules(installation.settings.counting.salts, kafka.partitions),
        read_blocked(kafka.bootstrap_servers, kafka.blocked_topic),
    )
    for record in read_topic(kafka.bootstrap_servers, kafka.events_topic):
        recount.record(*record)
    assert installation.views() == dict(recount.cells)
    assert installation.restarts(job) == 0
