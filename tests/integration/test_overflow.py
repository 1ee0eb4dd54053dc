"""While Kafka is away, and Redis all the time, what ingest acknowledges is counted once, or said to be too old."""

import itertools
import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from schemas import registry
from schemas.view_records import event_tail
from services.ingest.events import ViewEvent
from services.ingest.packing import pack
from settings import OverflowSettings
from settings.durations import HOUR_MS, MINUTE_MS
from tests.support.drainers import drainer
from tests.support.installation import PROMPT, Installation
from tests.support.services import service
from tests.support.waiting import eventually
from tools.recount import Recount, Rules, read_topic
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from udfs.logic.overflow.drained import Drained
from udfs.logic.overflow.object_file import encode
from udfs.logic.overflow.object_name import Destination, ObjectName
from udfs.stores.overflow_objects import OverflowObjects

AWAY_S = 6.0
# Ten minutes, or as long as somebody says who tries the test.
NIGHTLY_AWAY_S = float(os.environ.get("VIEW_COUNTS_TEST_OVERFLOW_AWAY_S", "600"))
BODY_EVENTS = 20
PAUSE_S = 0.05
BACK_S = 240.0
VIDEOS = [f"video-{n}" for n in range(5)]
LATE, TOO_OLD = 30, 40


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "overflow", PROMPT, trusted_times=False) as made:
        yield made


class Sender:
    """Sends events as long as it is told to, each until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: dict[bytes, str] = {}
        self.paths: Counter[str] = Counter()
        self.last_path = ""
        self.error: BaseException | None = None

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        videos = itertools.cycle(VIDEOS)
        with httpx2.Client(timeout=60, trust_env=False) as client:
            while not self._ended.is_set():
                events = [
                    {"event_id": str(uuid.uuid4()), "video_id": next(videos), "viewed_at": time.time_ns() // 1_000_000}
                    for _ in range(BODY_EVENTS)
                ]
                while not self._is_sent(client, events):
                    time.sleep(PAUSE_S)
                time.sleep(PAUSE_S)

    def _is_sent(self, client: httpx2.Client, events: list[dict[str, Any]]) -> bool:
        answer = client.post(f"{self._url}/v1/events", json={"events": events})
        if answer.status_code != 202 or answer.json()["rejected"]:
            self.paths[f"{answer.status_code}"] += 1
            return False
        self.last_path = answer.json().get("path", "kafka")
        self.paths[self.last_path] += 1
        self.acknowledged |= {uuid.UUID(event["event_id"]).bytes: event["video_id"] for event in events}
        return True


def put(objects: OverflowObjects, count: int, viewed_ms: int, sequence: int) -> tuple[ObjectName, set[bytes]]:
    """Store an object as a process of ingest does that was killed since."""
    ids = [uuid.uuid4() for _ in range(count)]
    events = [ViewEvent(video_id="old", event_id=one, viewed_at=viewed_ms, viewer_id="somebody") for one in ids]
    packed = pack(events, range(count), now_ms=viewed_ms, salts=1, tail=event_tail())
    said = {"producer_id": "killed", "sequence": sequence, "destination": Destination.EVENTS}
    name, content = encode(packed.blocks, count, made_ms=time.time_ns() // 1_000_000, **said)  # type: ignore[arg-type]
    objects.put(name, content)
    return name, {one.bytes for one in ids}


def recounted(installation: Installation) -> tuple[Recount, int]:
    """The topic counted again, and how many records the drainer wrote."""
    settings = installation.settings
    recount = Recount(Rules(salts=settings.counting.salts, partitions=settings.kafka.partitions))
    records = 0
    for partition, offset, at_ms, key, value in read_topic(
        settings.kafka.bootstrap_servers, settings.kafka.events_topic
    ):
        recount.record(partition, offset, at_ms, key, value)
        records += b"overflow" in (value or b"")[:200]
    return recount, records


def drained(objects: OverflowObjects, environment: Mapping[str, str], too_old: ObjectName, kills: int) -> list[Drained]:
    """Drain all objects, and return their accounts. Drainers are killed so often, each after a random time."""
    names = objects.names()

    def accounts() -> list[Drained | None]:
        return [objects.account(name) for name in names]

    chance = random.Random(len(names))
    for _ in range(kills):
        with drainer(environment, is_killed=True):
            time.sleep(chance.uniform(1.0, 8.0))
    with drainer(environment), drainer(environment):
        assert eventually(lambda: None not in accounts(), BACK_S)
        # What is in dead letters alone need not wait for the stream.
        assert eventually(lambda: too_old not in objects.names(), BACK_S)
        if kills:
            assert eventually(lambda: objects.names() == [])
    return [account for account in accounts() if account is not None]


@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize(
    ("away_s", "kills"), [(AWAY_S, 0), pytest.param(NIGHTLY_AWAY_S, 20, marks=pytest.mark.nightly)]
)
def test_what_is_acknowledged_while_kafka_is_away_is_counted_once(
    shared_stack: Stack, installation: Installation, away_s: float, kills: int
) -> None:
    overflow = OverflowSettings(path=f"s3://{S3_BUCKET}/overflow-{round(away_s)}")
    environment = {
        **shared_stack.environment(),
        **installation.environment(),
        "VIEW_COUNTS_OVERFLOW_PATH": overflow.path,
        "VIEW_COUNTS_OVERFLOW_WAIT_MS": "1000",
        "VIEW_COUNTS_OVERFLOW_LIST_S": "0.5",
        "VIEW_COUNTS_INGEST_DELIVERY_TIMEOUT_MS": "5000",
        # The broker has one clock.
        "VIEW_COUNTS_DRAIN_SKEW_MS": "0",
        # Nobody listens there.
        "VIEW_COUNTS_REDIS_PORT": "1",
    }
    objects = OverflowObjects(installation.settings.s3, overflow)
    installation.start()
    with service("ingest", environment) as url:
        with Sender(url) as sender:
            assert eventually(lambda: sender.paths["kafka"] > 20)
            shared_stack.stop_part("kafka")
            assert eventually(lambda: sender.last_path == "overflow")
            assert httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200
            time.sleep(away_s)
            shared_stack.start_part("kafka")
            assert eventually(lambda: sender.last_path == "kafka", BACK_S)
        stored = sum(name.events for name in objects.names())
        # Of the first of these bodies, Kafka may have acknowledged a part.
        assert stored >= sender.paths["overflow"] > 0
        now_ms = time.time_ns() // 1_000_000
        old = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(hours=1)
        _, late_ones = put(objects, LATE, now_ms - HOUR_MS, 1)
        late_ms = installation.settings.history.late_hours * HOUR_MS
        too_old, _ = put(objects, TOO_OLD, now_ms - late_ms - MINUTE_MS, 2)
        with service("query", environment) as query, httpx2.Client(base_url=query, trust_env=False) as client:

            def answer() -> dict[str, Any]:
                found: dict[str, Any] = client.get("/v1/videos/old/views", timeout=60).json()
                return found

            wanted_events = stored + LATE + TOO_OLD
            assert eventually(lambda: (answer()["waiting"] or {}).get("events") == wanted_events)
            complete = answer()["complete_through"]
            assert complete is None or complete < f"{old:%Y-%m-%dT%H:%M:%SZ}"
        accounts = drained(objects, environment, too_old, kills)
        assert sum(account.too_old for account in accounts) == TOO_OLD
        assert sum(account.events for account in accounts) == stored + LATE
        assert sum(account.refused for account in accounts) == 0
        # Ingest goes on with heartbeats until the stream has caught up.
        recount, records = recounted(installation)
        assert records > 0
        ids = recount.counted_ids
        counted = {bytes(ids[at : at + 16]) for at in range(0, len(ids), 16)}
        assert len(counted) * 16 == len(ids)
        assert sum(recount.cells.values()) == len(counted)
        # Late are the object of an hour ago, and what was drained too late. What the stream has counted already comes
        # late once more, and the rollup knows its id.
        late = {bytes(event["event_id"]) for event in recount.late.values()} - counted
        acknowledged = set(sender.acknowledged) | late_ones
        assert acknowledged <= counted | late
        assert len(acknowledged) + TOO_OLD == len(acknowledged & counted) + len(acknowledged & late) + TOO_OLD
        assert late_ones <= late
        if not kills:
            assert late == late_ones
        wanted = dict(recount.cells)
        assert eventually(lambda: installation.views() == wanted, BACK_S)
    letters = [
        event
        for _, _, _, _, value in read_topic(
            installation.settings.kafka.bootstrap_servers, installation.settings.kafka.dead_letter_topic
        )
        for event in registry.decode(value or b"")[1]["events"]
    ]
    assert {event["reason"] for event in letters} == {"too_old"}
    assert {event["index"] for event in letters} == set(range(TOO_OLD))
    assert b"somebody" not in b"".join(event["payload"] for event in letters)
