"""While Kafka takes no events, ingest acknowledges what the object store has made durable, and nothing else."""

import asyncio
import threading
import uuid
from typing import Any

import pytest

from schemas.view_records import event_tail
from services.ingest import app as ingest_app
from services.ingest.delivery import Delivery
from services.ingest.diverting import Diverter
from services.ingest.events import ViewEvent
from services.ingest.overflow import Overflow
from services.ingest.packing import Packed, pack
from services.ingest.partition_breaker import PartitionBreaker
from services.ingest.tally import IngestTally
from services.ingest.writer import Share
from settings import OverflowSettings, Settings
from tests.support.ingest_writer import FakeWriter, ingest_client, installed
from udfs.logic.overflow.object_file import decode
from udfs.logic.overflow.object_name import Destination, ObjectName

AWAY = "no Kafka broker answers"
NOW_MS = 1_800_000_000_000
OVERFLOW = OverflowSettings(path="s3://bucket/overflow", object_ms=10, wait_ms=100)


class Store:
    """Keeps objects in memory, or fails with `error`. If there is a gate, it waits for that."""

    def __init__(self, *_settings: object) -> None:
        self.objects: dict[ObjectName, bytes] = {}
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def put(self, name: ObjectName, content: bytes) -> None:
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.objects[name] = content

    def ids(self, destination: Destination = Destination.EVENTS) -> list[int]:
        return sorted(
            int.from_bytes(datum[:16], "big")
            for name, content in self.objects.items()
            if name.destination is destination
            for datum in decode(content, name.events).datums
        )


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(ingest_app, "OverflowObjects", lambda *_settings: made)
    return made


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    made = installed(monkeypatch)
    made.trouble = AWAY
    return made


def body(count: int = 3) -> dict[str, Any]:
    return {"events": [{"video_id": "A", "event_id": str(uuid.UUID(int=n + 1))} for n in range(count)]} | {}


def timed(count: int = 3) -> dict[str, Any]:
    import time

    now_ms = time.time_ns() // 1_000_000
    return {"events": [{**event, "viewed_at": now_ms} for event in body(count)["events"]]}


def test_events_are_acknowledged_when_the_object_is_durable(writer: FakeWriter, store: Store) -> None:
    client = ingest_client(Settings(overflow=OVERFLOW))
    assert client.get("/readyz").text == f"ready\nstores events in overflow: {AWAY}\n"
    answer = client.post("/v1/events", json=timed())
    assert (answer.status_code, answer.json()) == (202, {"accepted": 3, "rejected": [], "path": "overflow"})
    assert store.ids() == [1, 2, 3]
    assert writer.written == []


def test_without_a_bucket_it_is_as_before(writer: FakeWriter, store: Store) -> None:
    client = ingest_client()
    assert (client.get("/readyz").status_code, client.post("/v1/events", json=timed()).status_code) == (503, 503)
    assert store.objects == {}


def test_with_the_store_away_as_well_nothing_is_acknowledged(writer: FakeWriter, store: Store) -> None:
    store.error = ConnectionError("no route")
    client = ingest_client(Settings(overflow=OVERFLOW))
    answer = client.post("/v1/events", json=timed())
    assert (answer.status_code, answer.json()["accepted"]) == (503, 0)
    assert "no route" in answer.json()["rejected"][0]["reason"]
    assert answer.headers["retry-after"]
    # For a while nobody waits for the store in vain.
    store.error = None
    assert client.post("/v1/events", json=timed()).status_code == 503
    assert client.get("/readyz").status_code == 503
    assert store.objects == {}


def test_topics_that_are_wrong_are_no_outage(writer: FakeWriter, store: Store) -> None:
    writer.is_misconfigured = True
    client = ingest_client(Settings(overflow=OVERFLOW))
    assert (client.get("/readyz").status_code, client.post("/v1/events", json=timed()).status_code) == (503, 503)
    assert store.objects == {}


def test_a_body_whose_repeat_has_other_times_never_waits(writer: FakeWriter, store: Store) -> None:
    client = ingest_client(Settings(overflow=OVERFLOW))
    headers = {"Idempotency-Key": "no-uuid"}
    answer = client.post("/v1/events", json={"events": [{"video_id": "A"}]}, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (503, 0)
    # Its own times, or those of the key, are the same in each repeat.
    timed_key = {"Idempotency-Key": str(uuid.UUID("018f3c1e-7a10-7c3a-9d55-0a1b2c3d4e5f"))}
    answer = client.post("/v1/events", json=timed(1), headers=timed_key)
    assert (answer.status_code, answer.json()["path"]) == (202, "overflow")


def test_what_kafka_does_not_acknowledge_in_time_is_stored(writer: FakeWriter, store: Store) -> None:
    writer.trouble = None
    writer.failure = "_MSG_TIMED_OUT"
    client = ingest_client(Settings(overflow=OVERFLOW))
    answer = client.post("/v1/events", json=timed())
    assert (answer.status_code, answer.json()["accepted"], answer.json()["path"]) == (202, 3, "overflow")
    assert store.ids() == [1, 2, 3]
    writer.failure = None
    assert "path" not in client.post("/v1/events", json=timed()).json()


def packed_events(count: int, salts: int = 4) -> Packed:
    events = [ViewEvent(video_id="A", event_id=uuid.UUID(int=n + 1), viewed_at=NOW_MS) for n in range(count)]
    return pack(events, range(count), now_ms=NOW_MS, salts=salts, tail=event_tail())


class HalfWriter(FakeWriter):
    """Acknowledges events of even salts, and never answers for the others."""

    def write(self, packed: Packed, *, has_overflow: bool = False) -> list[Share]:
        shares = []
        for salt, places in enumerate(packed.indexes):
            done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            if salt % 2 == 0:
                done.set_result(None)
            shares.append(Share(done, places))
        return shares


def test_a_partition_that_does_not_answer_sends_its_own_events_alone_to_overflow() -> None:
    packed, store = packed_events(100), Store()

    async def delivered() -> Any:
        overflow = Overflow(OVERFLOW, store.put, producer_id="i", tally=IngestTally(60))
        delivery = Delivery(HalfWriter(), None, overflow, wait_ms=20)  # type: ignore[arg-type]
        return await delivery.write(packed)

    found = asyncio.run(delivered())
    assert (found.failed, found.is_stored) == ([], True)
    assert store.ids() == sorted(index + 1 for salt in (1, 3) for index in packed.indexes[salt])


def test_what_a_diverted_key_writes_is_stored_apart() -> None:
    store = Store()

    async def delivered() -> Any:
        tally, settings = IngestTally(60), Settings(overflow=OVERFLOW)
        overflow = Overflow(OVERFLOW, store.put, producer_id="i", tally=tally)
        writer = FakeWriter()
        writer.trouble = AWAY
        diverter = Diverter(settings, producer_id="i", tally=tally)
        delivery = Delivery(writer, diverter, overflow, wait_ms=20)  # type: ignore[arg-type]
        await delivery.write(packed_events(5), is_diverted=True)
        return await delivery.write(packed_events(9))

    asyncio.run(delivered())
    assert (store.ids(Destination.DIVERTED), store.ids()) == (list(range(1, 6)), list(range(1, 10)))


def test_events_of_many_requests_share_an_object_and_memory_is_bounded() -> None:
    store, tally = Store(), IngestTally(60)
    store.gate = threading.Event()
    packed = packed_events(10)
    size = sum(map(len, packed.blocks))
    settings = OVERFLOW.model_copy(update={"object_bytes_max": 4 * size, "held_bytes_max": 9 * size, "object_ms": 5000})

    async def stored() -> list[str | None]:
        overflow = Overflow(settings, store.put, producer_id="i", tally=tally)
        waiting = [asyncio.create_task(overflow.store(packed)) for _ in range(12)]
        await asyncio.sleep(0.05)
        assert store.gate is not None
        store.gate.set()
        await overflow.stop()
        return await asyncio.gather(*waiting)

    found = asyncio.run(stored())
    assert [reason is None for reason in found] == [True] * 9 + [False] * 3
    assert "wait for the object store" in str(found[-1])
    assert sorted(name.events for name in store.objects) == [10, 40, 40]
    assert tally.events_stored == 90


def test_a_notice_that_is_not_told_holds_nobody_up() -> None:
    store, told, gate = Store(), [], threading.Event()

    def tell(name: str) -> None:
        told.append(name)
        gate.wait(10)

    async def stored() -> list[str | None]:
        overflow = Overflow(OVERFLOW, store.put, producer_id="i", tally=IngestTally(60), tell=tell)
        found = [await overflow.store(packed_events(1)) for _ in range(8)]
        gate.set()
        await overflow.stop()
        return found

    assert asyncio.run(stored()) == [None] * 8
    assert len(store.objects) == 8
    assert len(told) == 1


def test_a_partition_is_slow_until_it_acknowledges_in_time() -> None:
    breaker = PartitionBreaker(2, slow_s=3)
    assert breaker.trouble(0, 100) is None
    breaker.sent(0, 100)
    assert breaker.trouble(0, 103) is None
    assert breaker.trouble(0, 103.1) is not None
    assert breaker.trouble(1, 103.1) is None
    breaker.settled(0, 5, 105, is_written=True)
    assert breaker.trouble(0, 105) is not None, "it took too long"
    breaker.sent(0, 106)
    breaker.settled(0, 0.1, 106.1, is_written=True)
    assert breaker.trouble(0, 200) is None
    breaker.sent(1, 200)
    breaker.settled(1, 0.1, 200.1, is_written=False)
    assert breaker.trouble(1, 200.1) is not None
    # A partition that acknowledges one record after the other is not slow because others wait.
    for at in range(300, 320, 2):
        breaker.sent(0, at)
        breaker.sent(0, at)
        breaker.settled(0, 1, at + 1, is_written=True)
        assert breaker.trouble(0, at + 2) is None
