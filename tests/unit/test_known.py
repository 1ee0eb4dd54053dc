"""What all answers of the query service share: it is read beside them, as a whole, and ages while the store is away."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
import structlog

from services.query.cache.single_flight import SingleFlight
from services.query.counts.cold import History
from services.query.counts.completeness import HistoryAwayError, Lost
from services.query.counts.knowledge import Knowledge
from services.query.counts.session import ReadSession, StoreAwayError
from services.query.counts.store import CountStore
from settings import QuerySettings
from udfs.logic.overflow.waiting import Listing

AT = datetime(2026, 3, 20, tzinfo=UTC)


class Store:
    """Counts how often it is read; `steps` has the order. It is away, and waits for the test, as the test says."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.is_away = False
        self.found: list[Lost] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def complete_through(self) -> datetime:
        self.steps.append("progress")
        await self.gate.wait()
        if self.is_away:
            raise StoreAwayError("away")
        return AT

    async def register(self) -> None:
        self.steps.append("register")

    async def lost(self) -> list[Lost]:
        return self.found


class Clock:
    """A monotonic clock that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def knowledge(store: Store, clock: Clock, listing: Any = lambda: None) -> Knowledge:
    return Knowledge(cast("CountStore", store), listing, refresh_s=0.001, stale_s=5, now_s=clock)


async def until(said: Any) -> None:
    async with asyncio.timeout(10):
        while not said():
            await asyncio.sleep(0.001)


def test_overflow_is_listed_before_progress_is_read() -> None:
    """Else an object may be listed, drained, counted and deleted between the two, and nobody would know of it."""
    store, listed = Store(), Listing(1)

    def listing() -> Listing:
        store.steps.append("listing")
        return listed

    known = asyncio.run(knowledge(store, Clock(), listing).get())
    assert store.steps == ["listing", "progress", "register"]
    assert known.listing is listed
    assert known.complete == AT


def test_missing_records_are_no_older_than_the_minutes_that_may_lack_them() -> None:
    """A job says which records it lacks, and then it closes minutes, while progress is being read."""

    async def ask() -> None:
        store = Store()
        store.gate.clear()
        asking = asyncio.create_task(knowledge(store, Clock()).get())
        await until(lambda: "progress" in store.steps)
        store.found = [Lost(3, None, AT.replace(tzinfo=None))]
        store.gate.set()
        assert (await asking).lost == tuple(store.found)

    asyncio.run(ask())


def test_missing_records_are_those_of_the_table_at_each_reading() -> None:
    async def ask() -> None:
        session = mock.create_autospec(ReadSession, instance=True)
        store = CountStore(session, QuerySettings(), mock.create_autospec(History, instance=True))
        session.rows.return_value = []
        assert await store.lost() == []
        end = AT.replace(tzinfo=None)
        session.rows.return_value = [SimpleNamespace(first_offset=4, next_offset=9, viewed_from=None, viewed_to=end)]
        assert await store.lost() == [Lost(5, None, end)]

    asyncio.run(ask())


def test_without_a_register_only_what_needs_it_is_refused() -> None:
    known = asyncio.run(knowledge(Store(), Clock()).get())
    with pytest.raises(HistoryAwayError):
        _ = known.history
    assert known.complete == AT


def test_requests_read_nothing_while_it_is_read_beside_them() -> None:
    async def ask() -> None:
        store = Store()
        held = knowledge(store, Clock())
        running = asyncio.create_task(held.run())
        first = await held.get()
        store.gate.clear()
        asked = len(store.steps)
        await until(lambda: len(store.steps) > asked)
        # A reading has begun and does not end, and questions do not wait for it.
        asked = len(store.steps)
        assert (await held.get()).complete == first.complete
        assert len(store.steps) == asked
        running.cancel()

    asyncio.run(ask())


def test_it_ages_while_the_store_is_away_and_then_it_is_no_more_used() -> None:
    async def ask() -> None:
        store, clock = Store(), Clock()
        held = knowledge(store, clock)
        running = asyncio.create_task(held.run())
        await until(lambda: held._known is not None)
        store.is_away = True
        asked = len(store.steps)
        await until(lambda: len(store.steps) > asked + 4)
        last = await held.get()
        clock.now_s += 5
        assert await held.get() is last
        assert held.age_s(last) == 5
        clock.now_s += 0.1
        with pytest.raises(StoreAwayError):
            await held.get()
        store.is_away = False
        assert held.age_s(await held.get()) == 0
        running.cancel()

    asyncio.run(ask())


def test_the_reader_goes_on_whatever_a_reading_raises() -> None:
    async def ask() -> None:
        store = Store()
        listing = mock.Mock(side_effect=[ValueError("a name"), ValueError("a name"), *[None] * 10_000])
        held = knowledge(store, Clock(), listing)
        with structlog.testing.capture_logs() as logs:
            running = asyncio.create_task(held.run())
            await until(lambda: held._known is not None or running.done())
        assert (await held.get()).complete == AT
        assert not running.done()
        # It is said once, and not as often as it is tried.
        assert [one["reason"] for one in logs] == ["ValueError: a name"]
        running.cancel()

    asyncio.run(ask())


def test_without_the_reader_each_question_reads() -> None:
    async def ask() -> None:
        store = Store()
        held = knowledge(store, Clock())
        await held.get()
        await held.get()
        assert store.steps.count("progress") == 2

    asyncio.run(ask())


def test_one_call_answers_all_who_ask_meanwhile() -> None:
    async def ask() -> None:
        flight: SingleFlight[str, int] = SingleFlight()
        gate, calls = asyncio.Event(), []

        async def call() -> int:
            calls.append(1)
            await gate.wait()
            return len(calls)

        waiting = [asyncio.create_task(flight.get("a", call)) for _ in range(5)]
        other = asyncio.create_task(flight.get("b", call))
        await asyncio.sleep(0)
        # One who leaves takes nothing from the others.
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*waiting[1:], other) == [2] * 5
        assert await flight.get("a", call) == 3

    asyncio.run(ask())


def test_an_error_is_that_of_all_who_asked_and_of_nobody_later() -> None:
    async def ask() -> None:
        flight: SingleFlight[str, int] = SingleFlight()

        async def fails() -> int:
            await asyncio.sleep(0)
            raise StoreAwayError("away")

        async def works() -> int:
            return 1

        found = await asyncio.gather(*(flight.get("a", fails) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [StoreAwayError] * 3
        assert await flight.get("a", works) == 1

    asyncio.run(ask())
