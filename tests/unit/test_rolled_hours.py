"""Hours that are held near by and in Redis: the same as in the tables for the state of history, whatever Redis does."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import ConnectionError as RedisAwayError
from redis.asyncio import Redis

from services.query.cache import shared as shared_module
from services.query.cache.shared import AWAY_S, Shared
from services.query.counts import rolled_hours
from services.query.counts.completeness import HistoryState
from services.query.counts.rolled_hours import KEPT_S, RolledHours
from services.query.counts.session import ReadSession
from settings import CassandraSettings

AT = datetime(2026, 3, 1, tzinfo=UTC)
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)
HOUR = timedelta(hours=1)


class Session(ReadSession):
    """Has these hours of one video by kind, and notes which months are read."""

    def __init__(self, hours: Mapping[datetime, int]) -> None:
        super().__init__(CassandraSettings())
        self.hours = dict(hours)
        self.read: list[date] = []

    async def rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        assert statement == "hours"
        _, kind, month, start, end = values
        self.read.append(month)
        await asyncio.sleep(0)
        return [
            SimpleNamespace(hour=hour, views=views + (kind == "like"))
            for hour, views in self.hours.items()
            if start <= hour < end
        ]


class MemoryRedis:
    """As much of Redis as is used. It is away, hangs, or has forgotten or spoilt what it had, as a test says."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.is_away = self.hangs = False
        self.asked = 0

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked += 1
        await self._trouble()
        return [self.values.get(key) for key in keys]

    async def _trouble(self) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        if self.is_away:
            raise RedisAwayError("away")

    @asynccontextmanager
    async def pipeline(self, *, transaction: bool) -> Any:
        assert not transaction
        made: dict[bytes, bytes] = {}

        async def execute() -> None:
            await self._trouble()
            self.values |= made

        def put(key: bytes, value: bytes, ex: int) -> None:
            assert ex == KEPT_S
            made[key] = value

        yield SimpleNamespace(set=put, execute=execute)


@pytest.fixture
def session() -> Session:
    start = datetime(2026, 2, 27)
    return Session({start + place * HOUR: place + 1 for place in range(96)})


def history(revision: int, through: datetime = AT) -> HistoryState:
    return HistoryState("m", revision, AT - timedelta(days=90), AT - timedelta(days=90), through, None, ())


def hours_of(session: Session, redis: MemoryRedis, *, bytes_max: int = 1 << 20, keyspace: str = "a") -> RolledHours:
    shared = Shared(cast("Redis", redis), kept_s=KEPT_S)
    return RolledHours(session, shared, keyspace=keyspace, bytes_max=bytes_max)


async def ask(
    hours: RolledHours, revision: int = 1, months: Sequence[date] = (FEBRUARY, MARCH), kind: str = "view"
) -> Any:
    found = dict(await hours.rows("A", kind, months, history(revision)))
    # What is written beside the answer is there.
    await asyncio.sleep(0.001)
    return found


def test_months_are_read_once_and_shared_by_processes_of_one_keyspace(session: Session) -> None:
    async def play() -> None:
        redis = MemoryRedis()
        hours = hours_of(session, redis)
        assert await ask(hours) == session.hours
        assert await ask(hours, months=(MARCH,)) == {at: n for at, n in session.hours.items() if at.month == 3}
        assert sorted(session.read) == [FEBRUARY, MARCH]
        assert redis.asked == 1
        # Another process has them from Redis. Another kind or keyspace has its own.
        assert await ask(hours_of(session, redis)) == session.hours
        assert len(session.read) == 2
        assert await ask(hours_of(session, redis), kind="like") == {at: n + 1 for at, n in session.hours.items()}
        assert await ask(hours_of(session, redis, keyspace="b"), months=(MARCH,))
        assert len(session.read) == 5

    asyncio.run(play())


def test_a_new_revision_reads_everything_anew(session: Session) -> None:
    async def play() -> None:
        redis = MemoryRedis()
        hours = hours_of(session, redis)
        await ask(hours)
        session.hours[datetime(2026, 3, 1, 5)] = 1000
        assert (await ask(hours, 1))[datetime(2026, 3, 1, 5)] != 1000
        assert (await ask(hours, 2)) == session.hours == await ask(hours_of(session, redis), 2)

    asyncio.run(play())


def test_what_is_changed_without_a_revision_is_seen_when_its_time_is_over(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"s": 0.0}
    monkeypatch.setattr(rolled_hours, "monotonic", lambda: now["s"])

    async def play() -> None:
        redis = MemoryRedis()
        hours = hours_of(session, redis)
        await ask(hours)
        session.hours[datetime(2026, 3, 1, 5)] = 1000
        now["s"] += KEPT_S
        redis.values.clear()
        assert await ask(hours) == session.hours

    asyncio.run(play())


def test_what_is_not_whole_in_redis_is_not_there(session: Session) -> None:
    async def play() -> None:
        redis = MemoryRedis()
        await ask(hours_of(session, redis))
        (first, one), (second, other) = redis.values.items()
        for values in ({first: other, second: one}, {first: one[:-8]}, {first: one[:-1] + b"\x07"}, {first: b""}):
            redis.values = values
            assert await ask(hours_of(session, redis)) == session.hours

    asyncio.run(play())


def test_a_redis_that_does_not_answer_is_left_alone_for_a_while(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"s": 0.0}
    monkeypatch.setattr(shared_module, "monotonic", lambda: now["s"])
    monkeypatch.setattr(shared_module, "TIMEOUT_S", 0.01)

    async def play(trouble: str) -> None:
        redis = MemoryRedis()
        hours = hours_of(session, redis, bytes_max=0)
        setattr(redis, trouble, True)
        for _ in range(3):
            assert await ask(hours) == session.hours
        assert redis.asked == 1
        setattr(redis, trouble, False)
        now["s"] += AWAY_S
        await ask(hours)
        session.read.clear()
        assert await ask(hours) == session.hours
        assert session.read == []

    asyncio.run(play("is_away"))
    now["s"] += AWAY_S
    asyncio.run(play("hangs"))


def test_what_is_held_near_by_is_within_its_bytes(session: Session) -> None:
    async def play() -> None:
        hours = RolledHours(session, bytes_max=3000)
        for video in range(20):
            assert dict(await hours.rows(f"v{video}", "view", (FEBRUARY, MARCH), history(1))) == session.hours
        assert 0 < hours._held.bytes <= 3000

    asyncio.run(play())
