"""Events that come one in a record are packed and counted, each once, though the job dies in the middle."""

import json
import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from connectors.compacted_topic import read_to_end
from schemas import registry
from tests.support.installation import PROMPT, Installation
from tests.support.waiting import eventually
from tools.stack import Stack

PACK_JOB = "jobs/pack_events.py"
EVENTS = 30_000


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "pack-events", PROMPT, trusted_times=False) as made:
        yield made


class Source:
    """Writes to the topic of single events."""

    def __init__(self, installation: Installation) -> None:
        self._topic = installation.settings.pack.source_topic
        self._producer = Producer({"bootstrap.servers": installation.settings.kafka.bootstrap_servers, "acks": "all"})

    def send(self, values: list[bytes | None]) -> None:
        for value in values:
            self._producer.produce(self._topic, value)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0


def test_each_is_counted_once_though_a_worker_is_killed(installation: Installation) -> None:
    source = Source(installation)
    now_ms = time.time_ns() // 1_000_000
    # Without an id a record is an event of its own; with one, the second is a repeat.
    without = [json.dumps({"video_id": f"v-{n % 50}"}).encode() for n in range(EVENTS)]
    named = [
        json.dumps({"video_id": "named", "event_id": str(uuid.uuid4()), "viewed_at": now_ms}).encode()
        for _ in range(100)
    ]
    bad: list[bytes | None] = [b"nothing", b'{"video_id": 7}', None]
    source.send([*without[: EVENTS // 3], *named, *bad])
    installation.start(parallelism=2)
    packing = installation.start(parallelism=2, script=PACK_JOB)
    assert eventually(lambda: sum(installation.views().values()) >= EVENTS // 3), installation.ledger()
    source.send([*without[EVENTS // 3 :], *named])
    installation.stack.kill_python_worker()
    installation.stack.kill("taskmanager")
    expected = EVENTS + len(named)
    assert eventually(lambda: sum(installation.views().values()) >= expected), installation.ledger()
    # The ledger is written after the counts that it tells of.
    assert eventually(lambda: installation.fates()["counted"] == expected), installation.ledger()
    fates = installation.fates()
    assert (fates["counted"], fates["received"]) == (expected, expected + fates["duplicate"])
    by_video = {f"v-{n}": EVENTS // 50 for n in range(50)} | {"named": len(named)}
    found: dict[str, int] = {}
    for (video, _, _), views in installation.views().items():
        found[video] = found.get(video, 0) + views
    assert found == by_video
    kafka = installation.settings.kafka

    def reasons() -> set[str]:
        letters = (registry.decode(value or b"")[1] for _, value, *_ in read_to_end(kafka, kafka.dead_letter_topic, 60))
        return {event["reason"].split(":")[0] for letter in letters for event in letter["events"]}

    assert reasons() == {"no JSON object", "video_id=7", "no_value"}
    assert installation.is_running(packing)
    # Nobody else writes to this installation's topic: its salts' clocks go on by the job alone.
    salts = range(installation.settings.counting.salts)

    def beats() -> dict[int, int]:
        found = dict.fromkeys(salts, 0)
        for key, value, *_ in read_to_end(kafka, kafka.events_topic, 60):
            found[int.from_bytes(key or b"", "big")] += not registry.decode(value or b"")[1]["events"]
        return found

    before = beats()
    assert eventually(lambda: all(number > before[salt] for salt, number in beats().items())), beats()
