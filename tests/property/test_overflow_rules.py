"""Whatever is killed, dead or slow on the way, each event is counted once, and no answer says too much.

Producers, drainers, the stream and whoever answers take turns at random, with a clock that moves in between. The stream
is a set of ids and its frontier; its own rules have tests of their own.
"""

import uuid
from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from schemas.registry import decode as decode_value
from schemas.view_records import event_tail
from services.drain.drainer import Drainer
from services.ingest.events import ViewEvent
from services.ingest.packing import batch_value, pack
from services.query.counts.arrivals import Arrivals
from settings import CountingSettings, DrainSettings, HistorySettings, KafkaSettings, Settings
from settings.durations import HOUR_MS, MINUTE_MS
from tests.support.overflow_store import KilledError, MemoryLog, MemoryObjects, Time, drainer_of
from udfs.logic.overflow.object_file import encode
from udfs.logic.overflow.object_name import Destination
from udfs.logic.overflow.waiting import Listing

SALTS = PARTITIONS = 2
SETTINGS = Settings(
    counting=CountingSettings(salts=SALTS),
    kafka=KafkaSettings(partitions=PARTITIONS),
    drain=DrainSettings(skew_ms=0, hold_s=5),
    history=HistorySettings(late_hours=1),
)
LATENESS_MS = SETTINGS.counting.lateness_ms
BEGIN_MS = 1_800_000_000_000 // MINUTE_MS * MINUTE_MS
STEPS = 120


class Stream:
    """What the count job knows: the ids that it has counted or found late, and how far it is in each partition."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.read = [0] * PARTITIONS
        self.append_ms = [0] * PARTITIONS
        self.counted: set[int] = set()
        self.late: set[int] = set()

    def consume(self, partition: int, most: int) -> None:
        records = self.log.records.get(partition, [])
        for stamp_ms, _, value in records[self.read[partition] :][:most]:
            self.read[partition] += 1
            self.append_ms[partition] = append_ms = max(self.append_ms[partition], stamp_ms)
            for event in decode_value(value)[1]["events"]:
                identity = int.from_bytes(event["event_id"], "big")
                viewed_ms = round(event["viewed_at"].timestamp() * 1000)
                if identity in self.counted:
                    continue
                (self.late if is_late(viewed_ms, append_ms) else self.counted).add(identity)

    @property
    def closed(self) -> datetime | None:
        """As the table progress says it."""
        frontier_ms = min(self.append_ms)
        if frontier_ms == 0:
            return None
        return datetime.fromtimestamp((frontier_ms - LATENESS_MS) // MINUTE_MS * MINUTE_MS / 1000, UTC)


def is_late(viewed_ms: int, append_ms: int) -> bool:
    return (viewed_ms // MINUTE_MS + 1) * MINUTE_MS + LATENESS_MS <= append_ms


class World:
    """All that takes turns. `acknowledged` has (viewed, acknowledged) in ms by id."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.time = Time(BEGIN_MS)
        self.objects = MemoryObjects(self._dies)
        self.log = MemoryLog(self.time.now_ms, self._dies)
        self.stream = Stream(self.log)
        self.acknowledged: dict[int, tuple[int, int]] = {}
        self.kills = False
        self.listing: Listing | None = None
        self.drainers = [self._drainer() for _ in range(2)]

    def _dies(self, _step: str) -> None:
        if self.kills and self.random.random() < 0.1:
            raise KilledError

    def _drainer(self) -> Drainer:
        def frontier_ms() -> int | None:
            closed = self.stream.closed
            return None if closed is None else round(closed.timestamp() * 1000) + LATENESS_MS

        return drainer_of(SETTINGS, self.objects, self.log, self.time, frontier_ms=frontier_ms)

    def _events(self) -> list[ViewEvent]:
        ages = [0, 30_000, 5 * MINUTE_MS, 12 * MINUTE_MS, 50 * MINUTE_MS, 61 * MINUTE_MS]
        age_ms = self.random.choice(ages)
        first = len(self.acknowledged) + 1
        count = self.random.randint(1, 4)
        at_ms = self.time.ms - age_ms
        return [ViewEvent(video_id="A", event_id=uuid.UUID(int=first + n), viewed_at=at_ms) for n in range(count)]

    def store(self) -> None:
        """A process of ingest stores an object, and acknowledges its events a moment later."""
        events = self._events()
        packed = pack(events, range(len(events)), now_ms=self.time.ms, salts=1, tail=event_tail())
        name, content = encode(
            packed.blocks,
            len(events),
            made_ms=self.time.ms,
            producer_id="i",
            sequence=len(self.acknowledged),
            destination=Destination.EVENTS,
        )
        self.time.ms += self.random.choice([0, 1500])
        self.objects.put(name, content)
        self._acknowledge(events)

    def produce(self) -> None:
        """A process of ingest writes to Kafka, or heartbeats alone."""
        for partition in range(PARTITIONS):
            events = self._events() if self.random.random() < 0.5 else []
            if partition in self.log.dead:
                continue
            packed = pack(events, range(len(events)), now_ms=self.time.ms, salts=1, tail=event_tail())
            value = encode_batch(packed.blocks, len(events), partition, self.time.ms)
            self.log.records.setdefault(partition, []).append((self.time.ms, partition, value))
            self._acknowledge(events)

    def _acknowledge(self, events: list[ViewEvent]) -> None:
        for event in events:
            assert event.event_id is not None
            assert isinstance(event.viewed_at, int)
            self.acknowledged[event.event_id.int] = event.viewed_at, self.time.ms

    def drain(self) -> None:
        place = self.random.randrange(2)
        self.kills = self.random.random() < 0.5
        try:
            self.drainers[place].turn()
        except KilledError:
            self.drainers[place] = self._drainer()
        self.kills = False

    def count(self) -> None:
        self.stream.consume(self.random.randrange(PARTITIONS), self.random.choice([1, 5, 100]))

    def die(self) -> None:
        self.log.dead = {self.random.randrange(PARTITIONS)} if self.random.random() < 0.5 else set()

    def list(self) -> None:
        self.listing = Listing(self.time.ms, self.objects.names())

    def answer(self) -> None:
        """Hold what an answer says against all that was acknowledged."""
        found = Arrivals(self.stream.closed, self.listing, LATENESS_MS)
        through, complete = found.through(), found.complete_through(self.stream.closed)
        if through is None or complete is None:
            return
        through_ms, complete_ms = (round(at.timestamp() * 1000) for at in (through, complete))
        known = self.stream.counted | self.stream.late
        for identity, (viewed_ms, at_ms) in self.acknowledged.items():
            if identity in known or too_old(viewed_ms, self.time.ms):
                continue
            assert at_ms >= through_ms, "acknowledged before, and not in"
            # What comes later for a minute that is over is late, whichever way it comes.
            assert viewed_ms >= complete_ms or is_late(viewed_ms, at_ms), "an answer was complete without it"

    def end(self) -> None:
        """Everything works again."""
        self.log.dead = set()
        for _ in range(30):
            self.time.ms += 20_000
            self.produce()
            for partition in range(PARTITIONS):
                self.stream.consume(partition, 10**9)
            self.drainers[0].turn()


def too_old(viewed_ms: int, now_ms: int) -> bool:
    """Whether a drainer may have taken an event for too old by now."""
    return viewed_ms < now_ms - HOUR_MS + MINUTE_MS


def encode_batch(blocks: list[bytes], count: int, salt: int, now_ms: int) -> bytes:
    """A record of ingest; which salt an event has is of no matter here."""
    return batch_value(blocks, count, producer_id="i", salt=salt, salts=SALTS, now_ms=now_ms)


def run(seed: int) -> World:
    world = World(seed)
    turns = (
        *(world.store,) * 2, *(world.produce,) * 3, *(world.drain,) * 3, *(world.count,) * 4, world.die,
        *(world.list,) * 2, *(world.answer,) * 3,
    )  # fmt: skip
    for _ in range(STEPS):
        world.time.ms += world.random.choice([0, 500, 2000, 30_000])
        world.random.choice(turns)()
    world.end()
    return world


@given(st.integers(0, 2**32))
def test_every_event_is_counted_once_or_said_to_be_too_old(seed: int) -> None:
    world = run(seed)
    stream = world.stream
    letters = {event["payload"][:16] for letter in world.log.letters for event in decode_value(letter)[1]["events"]}
    too_old_ids = {int.from_bytes(one, "big") for one in letters}
    assert set(world.acknowledged) == stream.counted | stream.late | too_old_ids
    assert not stream.counted & stream.late
    assert world.objects.names() == [], "all that was counted is deleted"
