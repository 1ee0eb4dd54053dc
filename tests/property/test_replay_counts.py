"""Property: whatever is sent again, whenever, however often and however much of it, nothing counts twice.

And what a plan says will count, counts, when it is sent at once. The stream and the batch layer are the product's own,
which other property tests hold against the words of the rules.
"""

import random
import uuid
from collections import Counter
from dataclasses import replace
from typing import Any

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from settings import CountingSettings, HistorySettings, KafkaSettings, Settings
from settings.durations import HOUR_MS
from tests.support.random_streams import MINUTE_MS, NOW_MS, RULE_SETS
from tests.support.tiers import examples
from tools.replay.events import events_in, fields_of
from tools.replay.fixes import Fix, FixError
from tools.replay.letters import Choice, Letter, Origin, chosen
from tools.replay.plan import Planned, Planner
from tools.replay.topics import batches
from udfs.logic.slices.slice_counts import SliceCounter
from udfs.logic.stream.block_table import NOBODY
from udfs.logic.stream.dedup import SaltDedup

PARTITIONS = 2
LATE_HOURS = 2
SALTS = RULE_SETS[0].salts
MICROSECONDS_MS = 10**14
AHEAD_MS = 40 * 24 * HOUR_MS
SECONDS_MS = 10**11
Event = dict[str, Any]
REASONS = ("late", "video_id_empty", "kind_reserved", "wrong_salt", "viewed_at_in_the_future", "unknown_schema")


def installation(rules: CountingSettings) -> Settings:
    return Settings(
        counting=rules, kafka=KafkaSettings(partitions=PARTITIONS), history=HistorySettings(late_hours=LATE_HOURS)
    )


def salt_of(event_id: bytes) -> int:
    return int(mmh3.hash(event_id, 0, signed=False) % SALTS)


def video_of(event_id: bytes) -> str:
    """Each event has a video of its own, whose count must never exceed 1."""
    return event_id.hex()


def encoded(salt: int, events: list[Event], at_ms: int, salts: int = SALTS) -> bytes:
    value = {
        "batch_id": bytes(16),
        "producer_id": "c",
        "salt": salt,
        "salts": salts,
        "produced_at": at_ms,
        "events": events,
    }
    return registry.encode("ViewBatch", value)


def is_usable(viewed_at: int) -> bool:
    """Not in seconds or microseconds, nor by a clock that is weeks ahead."""
    return SECONDS_MS < viewed_at < NOW_MS + AHEAD_MS // 2


def mend(event: Event | bytes, letter: Letter) -> Any:
    """What a careful person writes: everything follows from the event alone."""
    if isinstance(event, bytes):
        datums = events_in(replace(letter, payload=event[1:]), letter.origin.topic)
        return [mend(fields_of(datum), letter) for datum in datums if isinstance(datum, bytes)]
    event["video_id"] = video_of(uuid.UUID(event["event_id"]).bytes)
    event["kind"] = "view"
    if event["viewed_at"] > MICROSECONDS_MS:
        event["viewed_at"] //= 1000
    elif event["viewed_at"] < SECONDS_MS:
        event["viewed_at"] *= 1000
    elif not is_usable(event["viewed_at"]):
        event["viewed_at"] -= AHEAD_MS
    return event


def careless(event: Event | bytes, letter: Letter) -> Any:
    """Moves every time, which must be refused wherever that could count an event again."""
    if isinstance(event, bytes):
        return mend(event, letter)
    was_usable = is_usable(event["viewed_at"])
    made = mend(event, letter)
    made["viewed_at"] -= MINUTE_MS * was_usable
    return made


class World:
    """A log, the stream that reads it as it grows, and the letters it writes."""

    def __init__(self, r: random.Random, rules: CountingSettings) -> None:
        self._r = r
        self._settings = installation(rules)
        self._rules = rules
        self._stream: dict[int, SaltDedup] = {}
        self.now_ms = NOW_MS
        self.log: list[tuple[int, bytes, int]] = []
        self.letters: list[Letter] = []
        self.events: list[Event] = []

    def append(self, key_salt: int, value: bytes) -> None:
        """One record, judged at once."""
        dedup = self._stream.setdefault(key_salt, SaltDedup(key_salt, self._rules, sends=False))
        outcome = dedup.judge(value, self.now_ms, key_salt)
        for kept, rejected in (("late", outcome.late), ("dead-letter", outcome.dead)):
            for one in rejected:
                origin = Origin(self._settings.kafka.events_topic, key_salt % PARTITIONS, len(self.log), one.index)
                letter = Letter(kept, origin, one.reason, outcome.append_ms, one.payload)  # type: ignore[arg-type]
                # At least once.
                self.letters += [letter] * self._r.choice([1, 1, 2])
        self.log.append((key_salt, value, self.now_ms))

    def client(self) -> None:
        """Sends an event for the first time or again, well or in one of the ways that are rejected."""
        r = self._r
        if self.events and r.random() < 0.5:
            event = dict(r.choice(self.events))
        else:
            late = r.choice([0, 1, self._rules.lateness_ms, self._rules.lateness_ms + MINUTE_MS, HOUR_MS, 3 * HOUR_MS])
            ahead = r.choice([MINUTE_MS, 2 * MINUTE_MS, HOUR_MS, 30 * HOUR_MS, AHEAD_MS]) if r.random() < 0.3 else 0
            identity = uuid.UUID(int=r.getrandbits(128)).bytes
            event = {"event_id": identity, "video_id": video_of(identity), "viewed_at": self.now_ms + ahead - late}
            # In whatever unit the client has it, however often it sends it.
            unit = r.random()
            if unit < 0.1:
                event["viewed_at"] = event["viewed_at"] * 1000 + r.randrange(1000)
            elif unit < 0.2:
                event["viewed_at"] //= 1000
            self.events.append(event)
        salt = salt_of(event["event_id"])
        way = r.randrange(8)
        if way == 0:
            event["video_id"] = ""
        elif way == 1:
            event["kind"] = "blocked:view"
        elif way == 2:
            self.append((salt + 1) % SALTS, encoded((salt + 1) % SALTS, [event], self.now_ms))
            return
        elif way == 3:
            self.append(salt, encoded(salt, [event], self.now_ms, salts=2 * SALTS))
            return
        elif way == 4:
            self.append(salt, b"?" + encoded(salt, [event], self.now_ms))
            return
        self.append(salt, encoded(salt, [event], self.now_ms))

    def planned(self, fix: Fix | None, *, late_as_is: bool) -> list[Planned]:
        """A plan for some of the letters; for none of them when the fix is refused."""
        r = self._r
        reasons = frozenset(r.sample(REASONS, 2)) if r.random() < 0.5 else frozenset[str]()
        from_ms = self.now_ms - r.choice([5 * MINUTE_MS, HOUR_MS]) if r.random() < 0.3 else None
        found = chosen(self.letters, Choice(reasons=reasons, from_ms=from_ms), r.choice([None, None, 3]))
        planner = Planner(self._settings, self.now_ms, fix=fix, late_as_is=late_as_is)
        try:
            return [one for one in planner.plan(found) if one.datum]
        except FixError:
            return []

    def send(self, planned: list[Planned]) -> None:
        """As the tool packs them; all, or as many records as a process wrote before it was killed."""
        made = batches(self._settings, [one.datum for one in planned], self.now_ms)
        for salt, value, _ in made:
            self.append(salt, value)

    def counts(self) -> Counter[str]:
        """By video, what the stream counts and the batch layer adds."""
        found: Counter[str] = Counter()
        for partition in range(PARTITIONS):
            counter = SliceCounter(
                self._rules,
                partition=partition,
                partitions=PARTITIONS,
                blocks=NOBODY,
                late_ms_max=LATE_HOURS * HOUR_MS,
                viewed_ms_min=0,
                dedups={},
            )
            for salt, value, at_ms in self.log:
                if salt % PARTITIONS == partition:
                    counter.count(salt.to_bytes(4, "big"), value, at_ms)
            for row in counter.finish(lambda _hour, _ids: ()).sums.cells.to_pylist():
                found[row["video_id"]] += row["views"] + row["late_added"]
        return found


@pytest.mark.parametrize("fix", [mend, careless])
@examples(full=60)
@given(st.integers(min_value=0, max_value=2**48), st.sampled_from(RULE_SETS))
@pytest.mark.slow
def test_nothing_counts_twice_and_what_is_planned_counts(fix: Fix, seed: int, rules: CountingSettings) -> None:
    r = random.Random(seed)
    world = World(r, rules)
    promised: set[str] = set()
    waiting: list[list[Planned]] = []
    for _ in range(r.randrange(20, 80)):
        world.now_ms += r.choice([0, 1000, MINUTE_MS, 5 * MINUTE_MS, 13 * MINUTE_MS, HOUR_MS])
        for _ in range(r.randrange(4)):
            world.client()
        if r.random() < 0.3:
            planned = world.planned(r.choice([fix, fix, None]), late_as_is=r.random() < 0.3)
            end = r.random()
            if end < 0.5:
                world.send(planned)
                promised |= {video_of(one.datum[:16]) for one in planned}
            elif end < 0.7:
                # Killed half-way.
                world.send(planned[: r.randrange(len(planned) + 1)])
            else:
                # Planned now, written whenever.
                waiting.append(planned)
        if waiting and r.random() < 0.3:
            world.send(r.choice(waiting))
    counts = world.counts()
    assert max(counts.values(), default=0) <= 1, counts
    assert {video for video in promised if counts[video] != 1} == set()
