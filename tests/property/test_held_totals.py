"""Totals that are held: a total is exactly what a reader without a cache would have had when its reading began.

Random videos are viewed while minutes close, rollups write their rows one by one before they publish them, repairs
and imports change what was closed, and time passes. Each answer is compared with a sum over all rows at the time at
which it says that it was read, and that time must be within its bound.
"""

import asyncio
import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from services.query.counts import totals
from services.query.counts.known import Known
from services.query.counts.session import ReadSession
from services.query.counts.totals import Total, Totals
from settings import CassandraSettings
from tests.support.registers import register_of
from udfs.logic.history.register import Applied, manifest_name

START = datetime(2026, 3, 20, 22, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
VIDEOS = ("a", "b", "c")
KINDS = ("view", "blocked:view")
FRESH_S = 1.0
Name = tuple[str, str]


class World:
    """Tables that rollups, repairs, imports and the stream write to, and how far they say that they are."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.clock_s = 1000.0
        self.now = START + timedelta(minutes=90)
        self.closed = START + HOUR
        # What the stream says of it.
        self.complete: datetime | None = self.closed
        self.minutes: Counter[tuple[str, str, datetime]] = Counter()
        # Views that came too late for the stream, by name; the next rollup counts them.
        self.late: Counter[tuple[str, str, datetime]] = Counter()
        self.rows: dict[Name, tuple[int, datetime]] = {}
        # The rows as they were when the revision was published.
        self.published: dict[Name, tuple[int, datetime]] = {}
        self.imported: Counter[Name] = Counter()
        self.through = START
        self.revision = 1
        # What a rollup has still to write, and to publish then.
        self.due: list[tuple[Name, int]] = []
        self.due_through: datetime | None = None
        # By time: the truth as a reader would have had it, for the history of that time.
        self.truths: list[tuple[float, dict[Name, tuple[set[int], int]]]] = []
        self.statements: Counter[str] = Counter()

    def now_s(self) -> float:
        return self.clock_s

    def known(self) -> Known:
        hour = int(self.through.timestamp()) // 3600
        applied = Applied(manifest_name(7, "a"), self.revision, 0, hour, hour, imports=1)
        return Known(self.clock_s, None, self.complete, register_of("s3://here/h", applied, START), ())

    def note(self) -> None:
        """Time goes on, so that every state has a time of its own."""
        self.clock_s += 0.001
        self.truths.append(
            (self.clock_s, {(video, kind): self.truth(video, kind) for video in VIDEOS for kind in KINDS})
        )

    def truth(self, video: str, kind: str) -> tuple[set[int], int]:
        """The views by the row as it was published or as it is, and what is imported."""
        views = set()
        for rows in (self.published, self.rows):
            row, through = rows.get((video, kind), (0, START))
            since = max(self.through, through)
            views.add(row + sum(n for (*name, at), n in self.minutes.items() if name == [video, kind] and at >= since))
        return views, self.imported[video, kind]

    # --- what happens

    def view(self) -> None:
        """The stream counts views of minutes that are open."""
        first = self.closed
        for _ in range(self.chance.randint(1, 4)):
            at = first + self.chance.randint(0, int((self.now - first) / MINUTE) + 1) * MINUTE
            self.minutes[self.chance.choice(VIDEOS), self.chance.choice(KINDS), at] += self.chance.randint(1, 5)

    def come_late(self) -> None:
        at = START + self.chance.randrange(int((self.closed - START) / MINUTE)) * MINUTE
        self.late[self.chance.choice(VIDEOS), "view", at] += 1

    def pass_time(self) -> None:
        self.clock_s += self.chance.choice((0.1, 0.6, 0.9, 1.5, 700.0))
        self.now += self.chance.choice((1, 5, 50)) * MINUTE

    def close(self) -> None:
        """Minutes close; or for a time nobody can say how far, as when the number of shards changes."""
        self.closed = max(self.closed, self.now - self.chance.randint(0, 12) * MINUTE)
        self.complete = None if self.chance.random() < 0.1 else self.closed

    def roll_up(self) -> None:
        """Begin a rollup, or write one row of it, or publish it."""
        if self.due:
            (video, kind), views = self.due.pop()
            assert self.due_through is not None
            self.rows[video, kind] = views, self.due_through
        elif self.due_through is not None:
            self.through, self.due_through = self.due_through, None
            self.revision += 1
            self.published = dict(self.rows)
        elif self.closed >= self.through + HOUR:
            self.due_through = self.closed.replace(minute=0)
            counted: Counter[Name] = Counter()
            for source in (self.minutes, self.late):
                for (video, kind, at), n in source.items():
                    if at < self.due_through:
                        counted[video, kind] += n
            self.due = [(name, n) for name, n in counted.items() if self.rows.get(name, (0, None))[0] != n]
            self.chance.shuffle(self.due)

    def repair(self) -> None:
        """Add late views to minutes that have closed, as an audit does, and say so."""
        if self.due_through is None:
            self.minutes.update(self.late)
            self.late.clear()
            self.revision += 1

    def import_(self) -> None:
        if self.due_through is None:
            self.imported[self.chance.choice(VIDEOS), "view"] += 10
            self.revision += 1

    # --- statements

    async def rows_of(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        self.statements[statement] += 1
        await asyncio.sleep(0)
        videos, kinds, *more = values
        names = [(video, kind) for video in videos for kind in kinds]
        if statement == "bases":
            return [
                SimpleNamespace(
                    video_id=name[0], kind=name[1], views=self.rows[name][0], late_added=None,
                    complete_through=self.rows[name][1].replace(tzinfo=None),
                )
                for name in names
                if name in self.rows
            ]  # fmt: skip
        if statement == "imported":
            return [
                SimpleNamespace(video_id=name[0], kind=name[1], views=self.imported[name])
                for name in names
                if self.imported[name]
            ]
        days, first, *end = more
        return self._minutes(names, days, first, end[0] if end else datetime(9999, 1, 1))

    def _minutes(self, names: list[Name], days: list[date], first: datetime, end: datetime) -> list[Any]:
        found = []
        for (video, kind, at), views in self.minutes.items():
            if (video, kind) in names and at.date() in days and first <= at.replace(tzinfo=None) < end:
                found.append(SimpleNamespace(video_id=video, kind=kind, minute=at.replace(tzinfo=None), views=views))
        return found

    rows_by_statement = rows_of


class Session(ReadSession):
    """What Totals reads from a world."""

    def __init__(self, world: World) -> None:
        super().__init__(CassandraSettings())
        self._world = world

    async def rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return await self._world.rows_of(statement, values)


def check(world: World, total: Total, video: str) -> None:
    truth = next(truth for noted_s, truth in reversed(world.truths) if noted_s <= total.read_s)
    for views, imported, kind in zip(total.views, total.imported, KINDS, strict=True):
        assert views in truth[video, kind][0], (video, kind, world.statements)
        assert imported == truth[video, kind][1]


async def played(seed: int, steps: int, bytes_max: int) -> None:
    chance = random.Random(seed)
    world = World(chance)
    held = Totals(Session(world), kept_days=8, fresh_s=FRESH_S, bytes_max=bytes_max)
    acts = (world.view, world.view, world.come_late, world.pass_time, world.close, world.roll_up, world.roll_up)
    last: dict[str, float] = defaultdict(float)
    with mock.patch.object(totals, "monotonic", world.now_s):
        world.note()
        for _ in range(steps):
            chance.choice((*acts, world.repair, world.import_) if chance.random() < 0.3 else acts)()
            world.note()
            if chance.random() < 0.7:
                asked = [chance.choice(VIDEOS) for _ in range(chance.randint(1, 4))]
                known = world.known()
                answers = await asyncio.gather(*(held.get(video, KINDS, known, now=world.now) for video in asked))
                for video, total in zip(asked, answers, strict=True):
                    assert world.clock_s - total.read_s < FRESH_S
                    assert total.known.began_s <= total.read_s
                    assert total.known.history.state == known.history.state
                    check(world, total, video)
                    assert total.read_s >= last[video]
                    last[video] = total.read_s
                # What is read early ends before the world goes on.
                for _ in range(10):
                    await asyncio.sleep(0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32), bytes_max=st.sampled_from((0, 2500, 1 << 20)))
def test_a_held_total_is_the_sum_of_all_rows_when_it_was_read(seed: int, bytes_max: int) -> None:
    asyncio.run(played(seed, 60, bytes_max))
