"""The client in a world of simulated time: whatever fails and whenever it is killed, sent = arrived + expired.

The sender, the spool and all rules are the client's own. Time, chance, the network and the service are this file's.
"""

import json
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from view_counts_client.clock import Clock
from view_counts_client.endpoints import BreakerRules, Endpoints
from view_counts_client.happenings import Delivered, Expired, Happening, Refused, Retrying, Telling
from view_counts_client.ids import Ids
from view_counts_client.memory import Bounds, MemoryQueue
from view_counts_client.retry import Backoff, RetryBudget
from view_counts_client.sender import Policy, Sender
from view_counts_client.spool.full import QueueThenSpool
from view_counts_client.spool.log import Fsync
from view_counts_client.spool.source import Spool, SpoolRules
from view_counts_client.transport import Answer, NoAnswerError

EXPIRE_MS = 3_600_000
BOUNDS = Bounds(events_max=30, bytes_max=1 << 20, batch_events_max=8, batch_bytes_max=1 << 20, age_max_s=0.2)
BACKOFF = Backoff(0.2, 20.0)
SEND_AGAIN = "send it again, with the same id and time"


class World:
    """Time and a service, which survive the client."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_s = 1_767_225_600.0
        self.fails = 0.0
        self.away = False
        self.arrived: dict[str, dict[str, object]] = {}
        self.deliveries = 0
        self.requests = 0

    def right_ms(self) -> int:
        """The time by the service's clock."""
        return int(self.now_s * 1000)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        self.requests += 1
        if self.away or self.chance.random() < self.fails:
            raise NoAnswerError("away")
        return Answer(200, {}, json.dumps({"now": self.right_ms()}).encode())

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.requests += 1
        self.now_s += self.chance.random()
        if self.away:
            raise NoAnswerError("away")
        drawn = self.chance.random() / self.fails if self.fails else 1.0
        events = [json.loads(line) for line in body.splitlines()]
        if drawn < 0.3:
            return Answer(503, {"retry-after": "1"}, b"{}")
        if drawn < 0.4:
            return Answer(429, {"retry-after": "2"}, b"{}")
        if drawn < 0.5:
            return Answer(502, {}, b"<html>")
        if drawn < 0.6 and len(events) > 2:
            return Answer(413, {}, b"{}")
        lost = {place for place in range(len(events)) if drawn < 0.9 and self.chance.random() < 0.5}
        for place, event in enumerate(events):
            if place not in lost:
                self.take(event)
        if drawn < 0.7:
            raise NoAnswerError("reset")
        rejected = [{"index": place, "reason": "lost", "remedy": SEND_AGAIN} for place in sorted(lost)]
        status = 503 if len(lost) == len(events) else 202
        return Answer(status, {}, json.dumps({"accepted": len(events) - len(lost), "rejected": rejected}).encode())

    def take(self, event: dict[str, object]) -> None:
        """The service writes an event, which is the same whenever it comes."""
        known = self.arrived.setdefault(str(event["event_id"]), event)
        assert known == event
        assert isinstance(event["viewed_at"], int)
        assert event["viewed_at"] >= self.right_ms() - EXPIRE_MS - 2000
        self.deliveries += 1

    def close(self) -> None:
        """See Transport."""


class Process:
    """A process with the client in it."""

    def __init__(self, world: World, folder: Path, spool_when: str, device_ms: int) -> None:
        self.world = world
        self.expired: set[str] = set()
        self.resent = 0
        # The device's clock is off, and by something else after each start.
        off_ns = (device_ms + world.chance.randint(-9000, 9000)) * 1_000_000
        clock = Clock(lambda: int(world.now_s * 1e9), lambda: int(world.now_s * 1e9) + off_ns)
        ids = Ids(world.chance.randbytes)
        rules = SpoolRules(folder, 1 << 30, Fsync.NEVER, 1.0)

        def now_s() -> float:
            return world.now_s

        def wake() -> None:
            """Nobody sleeps here."""

        spool = Spool(rules, BOUNDS, BACKOFF, clock, ids, now_s, wake)
        spool.open()
        memory = MemoryQueue(BOUNDS, BACKOFF, clock, ids, now_s, wake)
        self.spool = spool
        self.source = spool if spool_when == "viewed" else QueueThenSpool(memory, spool, clock, ids)
        self.sender = Sender(
            self.source,
            Endpoints(["http://a", "http://b"], BreakerRules(3, 1.0, 30.0)),
            world,
            headers={},
            policy=Policy(BACKOFF, "identity", EXPIRE_MS),
            budget=RetryBudget(share=0.5, per_s=1.0, most=20, now_s=world.now_s),
            clock=clock,
            ids=ids,
            tell=Telling(self.heard),
            now_s=now_s,
            random=world.chance.random,
        )

    def heard(self, happening: Happening) -> None:
        match happening:
            case Expired():
                self.expired |= {json.loads(event.line())["video_id"] for event in happening.events}
            case Retrying():
                self.resent += happening.events
            case Refused():
                raise AssertionError(happening)
            case Delivered():
                pass

    def run(self, for_s: float, *, hurry: bool = False) -> None:
        """Let the sender work for so long."""
        until_s = self.world.now_s + for_s
        while self.world.now_s < until_s:
            wait_s = self.sender.step(hurry=hurry)
            assert wait_s is None or wait_s >= 0
            self.world.now_s += min(1.0 if wait_s is None else wait_s, until_s - self.world.now_s) + 0.001

    def killed(self) -> None:
        """What the system does for a process that is killed."""
        self.spool.abandon()


def drive(seed: int, steps: int, spool_when: str, device_ms: int) -> tuple[World, int]:
    """Do anything for so many steps, and then let all of it arrive. Returns what there was to be sent."""
    chance = random.Random(seed)
    world = World(chance)
    taken: dict[str, int] = {}
    expired: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = Process(world, folder, spool_when, device_ms)
        for _ in range(steps):
            step = chance.random()
            if step < 0.5:
                for _ in range(chance.randint(1, 12)):
                    video = f"v-{len(taken)}"
                    assert process.source.put(video, None, "", None, 0.0)
                    taken[video] = world.right_ms()
            elif step < 0.8:
                process.run(chance.random() * 5, hurry=chance.random() < 0.3)
            elif step < 0.9:
                world.away = chance.random() < 0.4
                world.fails = chance.choice([0.0, 0.5, 0.9])
            elif step < 0.93:
                # Some wait for longer than counts.
                world.now_s += chance.choice([60.0, 1800.0])
            elif spool_when == "viewed":
                expired |= process.expired
                process.killed()
                process = Process(world, folder, spool_when, device_ms)
        world.away, world.fails = False, 0.0
        for _ in range(1000):
            if not process.sender.remaining():
                break
            process.run(30.0, hurry=True)
        assert not process.sender.remaining()
        assert process.spool.waiting() == 0
        process.killed()
    expired |= process.expired
    arrived = [str(event["video_id"]) for event in world.arrived.values()]
    assert len(arrived) == len(set(arrived))
    # By less than the device's clock is told apart, or than it changed before the service was first asked.
    for event in world.arrived.values():
        assert isinstance(event["viewed_at"], int)
        assert abs(event["viewed_at"] - taken[str(event["video_id"])]) <= 20_000
    # What was taken and not answered may be too old the next time.
    assert set(arrived) | expired == set(taken)
    return world, len(taken)


@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0, -7_200_000, 7_200_000]))
def test_what_is_viewed_with_a_spool_arrives_or_expires_though_killed(seed: int, steps: int, device_ms: int) -> None:
    drive(seed, steps, "viewed", device_ms)


@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0, -7_200_000, 7_200_000]))
def test_what_is_viewed_with_a_queue_and_a_spool_arrives_or_expires(seed: int, steps: int, device_ms: int) -> None:
    drive(seed, steps, "full", device_ms)


def test_an_hour_without_the_service_costs_few_requests() -> None:
    world = World(random.Random(1))
    with tempfile.TemporaryDirectory() as name:
        process = Process(world, Path(name), "viewed", 0)
        process.source.put("A", None, "", None, 0.0)
        process.run(5.0)
        world.away = True
        process.source.put("B", None, "", None, 0.0)
        world.requests = 0
        process.run(1800.0)
        # The backoff's mean is half of its bound, and breakers wait longer.
        assert 20 < world.requests < 400
        world.away = False
        process.run(60.0)
        assert len(world.arrived) == 2
        process.killed()
