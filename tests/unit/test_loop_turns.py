"""The turns in which requests have the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest

from services.loop_turns import CALLED_MAX, Turns
from services.overload import Overload
from tests.unit.test_overload import POST, Peer

TURN_S = 3.0
DEAD_AFTER_TURNS = 1000


class Work:
    """Requests for which each stretch of work takes 1 s of a clock of its own. Notes which had it in which turn."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.turns = Turns(TURN_S, lambda: self.now_s)
        self.done: list[tuple[int, str]] = []
        self._turn = 0

    async def stretch(self, name: str, asks: Callable[[], Awaitable[None]]) -> None:
        await asks()
        self.done.append((self._turn, name))
        self.now_s += 1.0

    async def until_done(self, tasks: Iterable[asyncio.Task[None]]) -> list[list[str]]:
        """The names by turn of the loop, as far as something was done in it."""
        left = set(tasks)
        while left:
            assert self._turn < DEAD_AFTER_TURNS, f"{len(left)} wait for ever"
            await asyncio.sleep(0)
            self._turn += 1
            left = {task for task in left if not task.done()}
        turns = sorted({turn for turn, _ in self.done})
        return [[name for at, name in self.done if at == turn] for turn in turns]


def begin(work: Work, names: Iterable[str]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(work.stretch(name, work.turns.begin)) for name in names]


def go_on(work: Work, names: Iterable[str]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(work.stretch(name, work.turns.go_on)) for name in names]


def test_nobody_waits_while_there_is_time() -> None:
    async def run() -> None:
        turns = Turns(TURN_S, lambda: 0.0)
        for asks in (turns.begin, turns.go_on, turns.begin):
            with pytest.raises(StopIteration):
                asks().send(None)

    asyncio.run(run())


def test_one_turn_has_no_more_than_its_time_and_all_begin_in_the_order_in_which_they_came() -> None:
    async def run() -> None:
        work = Work()
        by_turn = await work.until_done(begin(work, map(str, range(100))))
        assert [name for names in by_turn for name in names] == [str(number) for number in range(100)]
        assert max(map(len, by_turn)) == TURN_S

    asyncio.run(run())


def test_who_has_begun_goes_on_before_others_begin() -> None:
    async def run() -> None:
        work = Work()
        first = begin(work, "abcdef")
        await asyncio.sleep(0)
        by_turn = await work.until_done([*first, *begin(work, "gh"), *go_on(work, "xyz")])
        assert [name for names in by_turn for name in names] == list("abcxyzdefgh")

    asyncio.run(run())


def test_stretches_that_take_no_time_are_called_in_bounded_numbers() -> None:
    async def run() -> None:
        work = Work()
        names = [str(number) for number in range(4 * CALLED_MAX)]
        tasks = begin(work, names[:4])
        await asyncio.sleep(0)
        work.turns._clock = lambda: 0.0
        by_turn = await work.until_done([*tasks, *begin(work, names[4:])])
        assert [name for turn in by_turn for name in turn] == names
        assert max(map(len, by_turn)) <= CALLED_MAX

    asyncio.run(run())


def test_who_is_cancelled_holds_nobody_up() -> None:
    async def run() -> None:
        work = Work()
        tasks = begin(work, "abcdefgh")
        await asyncio.sleep(0)
        # One that waits, and one that was called a moment ago.
        tasks[4].cancel()
        await asyncio.sleep(0)
        tasks[3].cancel()
        by_turn = await work.until_done(tasks)
        assert [name for names in by_turn for name in names] == list("abcfgh")

    asyncio.run(run())


def test_a_turn_without_any_time_lets_one_begin() -> None:
    async def run() -> None:
        work = Work()
        work.turns._turn_s = 0.0
        assert await work.until_done(begin(work, "abc")) == [["a"], ["b"], ["c"]]

    asyncio.run(run())


def test_requests_that_came_together_do_not_begin_together() -> None:
    async def run() -> None:
        peer = Peer(Overload(1e9))
        peer.turns._turn_s = 0.0
        connections = [peer.connect()[0] for _ in range(20)]
        for connection in connections:
            connection.data_received(POST)
        most = before = 0
        for _ in range(DEAD_AFTER_TURNS):
            await asyncio.sleep(0)
            most, before = max(most, peer.requests - before), peer.requests
        assert (most, peer.requests, peer.overload.waiting) == (1, 20, 0)
        for connection in connections:
            connection.connection_lost(None)

    asyncio.run(run())
