"""Live answers: one reading for all who listen, no number that goes back without a reason, and an end that says why."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message

from services.access.caller import Caller
from services.leaving import Life
from services.parameters import read_query
from services.query.api.answers.live import LiveAway
from services.query.api.endpoints.asked import Asked
from services.query.api.endpoints.live import Live
from services.query.api.endpoints.top import Top
from services.query.api.endpoints.videos import Videos
from services.query.api.live import hub as hub_module
from services.query.api.live.event_stream import EventStream
from services.query.api.live.hub import PARTITIONS_AT_ONCE, Hub
from services.query.api.live.listener import HOLD_S, Listener
from services.query.api.live.places import Places
from services.query.api.live.reading import Reading, TotalOf
from services.query.api.live.states import Place, State, Subject, block, id_of, place_of
from services.query.api.question import Question
from services.query.counts.session import StoreAwayError
from services.query.counts.top import TopQuestion
from services.query.counts.trust_watch import TrustWatch
from services.refused import RefusedError
from settings import Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.tables import Tables

# A listener belongs to one loop.
LOOP = asyncio.Runner()
AWAY = LiveAway("away", "2026-01-01T00:00:00Z")


def state(revision: int, views: int) -> State:
    place = Place(revision, views)
    return State("views", b'{"views":%d}' % views, id_of(place), place)


def heard(listener: Listener) -> list[str]:
    """What it would send now, each as (event, and what else)."""

    async def all_now() -> list[str]:
        found = []
        blocks = listener.blocks()
        while True:
            try:
                async with asyncio.timeout(0.01):
                    found.append((await anext(blocks)).decode())
            except (TimeoutError, StopAsyncIteration):
                return found

    return [piece for text in LOOP.run(all_now()) for piece in text.split("\n\n") if piece]


def views(revision: int, number: int) -> str:
    return f'event: views\nid: {revision}-{number}\ndata: {{"views":{number}}}'


def test_an_event_has_no_line_break_in_its_data_and_its_id_can_be_read_back() -> None:
    assert block("away", LiveAway("a\nb", "t")).split(b"\n")[1:] == [rb'data: {"error":"a\nb","since":"t"}', b"", b""]
    assert place_of(id_of(Place(7, 5))) == Place(7, 5)
    for other in ("", "7", "7-", "-5", "7-5-", "9" * 19 + "-1", "2026-01-01T00:00:00Z"):
        assert place_of(other) is None, other


def test_a_slow_client_gets_the_newest_state_only_and_an_unchanged_one_is_not_sent_again() -> None:
    listener = Listener(None, now_s=0.0)
    for number in (1, 2, 3):
        listener.offer(state(7, number), 0.0)
    assert heard(listener) == [views(7, 3)]
    same = state(7, 4)
    listener.offer(same, 1.0)
    assert heard(listener) == [views(7, 4)]
    listener.offer(same, 2.0)
    assert heard(listener) == []


def test_fewer_views_are_held_back_until_they_stay_and_a_change_of_history_is_a_reason() -> None:
    listener = Listener(Place(7, 10), now_s=0.0)
    listener.offer(state(7, 9), 0.0)
    listener.offer(state(7, 9), HOLD_S - 0.1)
    assert heard(listener) == []
    listener.offer(state(7, 10), HOLD_S)
    assert heard(listener) == [views(7, 10)]
    # Behind another process, whose history is newer.
    listener.offer(state(6, 12), HOLD_S)
    assert heard(listener) == []
    listener.offer(state(8, 9), HOLD_S)
    said = heard(listener)
    assert said[0].startswith('event: lowered\ndata: {"before":10,"now":9,"because":"history has changed')
    assert said[1:] == [views(8, 9)]
    listener.offer(state(8, 2), 2 * HOLD_S)
    listener.offer(state(8, 2), 3 * HOLD_S)
    said = heard(listener)
    assert '"because":"the tables have said so' in said[0]
    assert said[1:] == [views(8, 2)]


def test_what_waits_to_be_sent_is_not_replaced_by_less() -> None:
    listener = Listener(None, now_s=0.0)
    listener.offer(state(7, 10), 0.0)
    listener.offer(state(7, 9), 1.0)
    assert heard(listener) == [views(7, 10)]


def test_after_an_outage_the_state_is_sent_though_it_is_the_same() -> None:
    listener, same = Listener(None, now_s=0.0), state(7, 1)
    listener.offer(same, 0.0)
    assert heard(listener) == [views(7, 1)]
    listener.tell_away(AWAY)
    listener.tell_away(AWAY)
    assert heard(listener) == ['event: away\ndata: {"error":"away","since":"2026-01-01T00:00:00Z"}']
    listener.offer(same, 1.0)
    assert heard(listener) == [views(7, 1)]


def test_the_end_comes_after_the_newest_state_and_says_when_to_come_back() -> None:
    listener = Listener(None, now_s=0.0)
    listener.offer(state(7, 1), 0.0)
    listener.end("leaving")
    said = heard(listener)
    assert said[0] == views(7, 1)
    assert said[1].startswith("event: end\nretry: ")
    assert said[1].endswith('data: {"because":"leaving"}')


# --- the hub


class Source:
    """What is read: a number of views by subject, and which subjects fail. `read` has what was asked, in order."""

    def __init__(self) -> None:
        self.views: dict[Subject, int] = {}
        self.failing: set[Subject] = set()
        self.asked: list[tuple[list[Subject], int]] = []

    async def read(self, subjects: Sequence[Subject], every_s: int) -> Mapping[Subject, State | Exception]:
        self.asked.append((list(subjects), every_s))
        return {
            one: StoreAwayError("away") if one in self.failing else state(7, self.views.get(one, 0)) for one in subjects
        }


class SlowSource(Source):
    """What takes its time, so that others come meanwhile."""

    async def read(self, subjects: Sequence[Subject], every_s: int) -> Mapping[Subject, State | Exception]:
        await asyncio.sleep(0.001)
        return await super().read(subjects, every_s)


def hub_of(
    source: Source, *, cost: int | Callable[[Subject], int] = 1, listeners_max: int = 10, life: Life | None = None
) -> Hub:
    return Hub(
        source.read,
        cost if callable(cost) else lambda _subject: cost,
        listeners_max=listeners_max,
        life=life or Life(),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        registry=CollectorRegistry(),
    )


def listener_now() -> Listener:
    return Listener(None, now_s=time.monotonic())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "EVERY_S", 0.02)
    monkeypatch.setattr(hub_module, "TEND_S", 0.01)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def blocks_of(listener: Listener, count: int) -> list[bytes]:
    blocks = listener.blocks()
    async with asyncio.timeout(30):
        return [await anext(blocks) for _ in range(count)]


def test_all_who_listen_to_one_thing_share_its_readings_and_hear_what_changes() -> None:
    async def run() -> None:
        source = Source()
        hub = hub_of(source)
        listeners = [listener_now() for _ in range(5)]
        await asyncio.gather(*(hub.listen("A", one) for one in listeners))
        assert [asked for asked, _ in source.asked].count(["A"]) == len(source.asked)
        for number in (0, 3):
            source.views["A"] = number
            said = [(await blocks_of(one, 1))[0].split(b"\n")[1] for one in listeners]
            assert said == [b"id: 7-%d" % number] * 5
        for one in listeners:
            hub.leave("A", one)
        read = len(source.asked)
        await asyncio.sleep(0.1)
        # Nobody listens, so that nothing is read.
        assert len(source.asked) == read

    asyncio.run(run())


def test_what_needs_more_partitions_than_are_read_at_once_is_read_in_turn_and_less_often() -> None:
    async def run() -> None:
        source = Source()
        hub = hub_of(source, cost=PARTITIONS_AT_ONCE // 2)
        names = list("ABCDE")
        await asyncio.gather(*(hub.listen(name, listener_now()) for name in names))
        source.asked.clear()
        await until(lambda: len(source.asked) >= 10)
        assert all(len(asked) == 2 for asked, _ in source.asked)
        # Three readings for five things of half a reading each.
        assert {name for asked, _ in source.asked[:3] for name in asked} == set(names)
        hub.stop()

    asyncio.run(run())


def test_clients_who_come_and_go_hold_up_nobody_who_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        # A round is always due, as with a slow store.
        monkeypatch.setattr(hub_module, "EVERY_S", 0.0)
        source = SlowSource()
        hub = hub_of(source, cost=PARTITIONS_AT_ONCE)
        for name in "AB":
            await hub.listen(name, listener_now())

        async def come_and_go(name: str) -> None:
            for visit in range(20):
                listener = listener_now()
                await hub.listen(f"{name}{visit}", listener)
                hub.leave(f"{name}{visit}", listener)

        source.asked.clear()
        async with asyncio.timeout(30):
            # While the one is read, the other has come: there is always one who has heard nothing.
            await asyncio.gather(come_and_go("C"), come_and_go("D"))
        stayed = [name for asked, _ in source.asked for name in asked if name in ("A", "B")]
        # They are read in turn, in each round.
        assert len(stayed) >= len(source.asked) - 1
        assert abs(stayed.count("A") - stayed.count("B")) <= 1
        hub.stop()

    asyncio.run(run())


def test_an_event_says_how_often_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(hub_module, "EVERY_S", 1.0)
        source = Source()
        hub = hub_of(source, cost=PARTITIONS_AT_ONCE)
        for name in "ABC":
            await hub.listen(name, listener_now())
        assert [every_s for _, every_s in source.asked] == [1, 2, 3]
        hub.stop()

    asyncio.run(run())


def test_there_are_so_many_listeners_and_a_place_is_free_again() -> None:
    async def run() -> None:
        hub = hub_of(Source(), listeners_max=2)
        first, second = listener_now(), listener_now()
        await hub.listen("A", first)
        await hub.listen("B", second)
        with pytest.raises(RefusedError, match="2 listeners") as refused:
            await hub.listen("A", listener_now())
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        hub.leave("A", first)
        hub.leave("A", first)
        await hub.listen("C", listener_now())
        with pytest.raises(RefusedError):
            await hub.listen("C", listener_now())
        hub.stop()

    asyncio.run(run())


def test_one_key_has_half_of_the_places_and_open_access_has_all() -> None:
    async def run() -> None:
        source = Source()
        hub = hub_of(source, listeners_max=5)
        live = Live(hub)

        async def listen(key: str | None, video_id: str = "A") -> EventStream:
            question = Question(Caller("shop", key), {"video_id": video_id}, read_query(b"", ()))
            return await live.views(question, "", lambda: True)

        streams = [await listen("one") for _ in range(3)]
        with pytest.raises(RefusedError, match="the key one has 3 listeners") as refused:
            await listen("one")
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        await listen("two")
        await listen(None)
        with pytest.raises(RefusedError, match="this process has 5 listeners"):
            await listen("three")
        # A place is free again after a stream, and after a first reading that fails.
        streams[0]._leave()
        source.failing.add(TotalOf("B", "view"))
        with pytest.raises(StoreAwayError):
            await listen("one", "B")
        await listen("one")
        hub.stop()
        open_hub = hub_of(Source(), listeners_max=2)
        for _ in range(2):
            await open_hub.listen("A", listener_now())
        open_hub.stop()

    asyncio.run(run())


def test_a_single_place_is_for_any_key() -> None:
    places = Places(1)
    places.take("one")
    places.give_back("one")
    places.take("two")


def test_a_first_reading_that_fails_is_the_answer_to_all_who_wait_and_the_next_begins_anew() -> None:
    async def run() -> None:
        source = Source()
        source.failing.add("A")
        hub = hub_of(source, listeners_max=3)
        both = await asyncio.gather(*(hub.listen("A", listener_now()) for _ in range(2)), return_exceptions=True)
        assert [type(one) for one in both] == [StoreAwayError] * 2
        source.failing.clear()
        for _ in range(3):
            await hub.listen("A", listener_now())
        hub.stop()

    asyncio.run(run())


def test_a_reading_that_breaks_ends_no_later_reading() -> None:
    async def run() -> None:
        source = Source()
        hub = hub_of(source)
        listener = listener_now()
        await hub.listen("A", listener)
        assert (await blocks_of(listener, 1))[0].startswith(b"event: views")
        read, source.asked = source.asked, None  # type: ignore[assignment]
        assert b"this cannot be read now" in (await blocks_of(listener, 1))[0]
        source.asked = read
        assert (await blocks_of(listener, 1))[0].startswith(b"event: views")
        hub.stop()

    asyncio.run(run())


def test_who_comes_during_an_outage_gets_what_is_known_and_since_when() -> None:
    async def run() -> None:
        source = Source()
        hub = hub_of(source)
        await hub.listen("A", listener_now())
        await hub.listen("B", listener_now())
        source.failing.add("A")
        await until(lambda: len(source.asked) > 5)
        late = listener_now()
        await hub.listen("A", late)
        said = await blocks_of(late, 2)
        assert said[0].startswith(b"event: views")
        assert said[1] == b'event: away\ndata: {"error":"away","since":"2026-01-01T00:00:00Z"}\n\n'
        hub.stop()

    asyncio.run(run())


def test_a_process_that_leaves_ends_its_streams_and_takes_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        life = Life()
        hub = hub_of(Source(), life=life)
        listener = listener_now()
        await hub.listen("A", listener)
        life.is_leaving = True
        assert (await blocks_of(listener, 2))[1].startswith(b"event: end")
        with pytest.raises(RefusedError, match="about to stop"):
            await hub.listen("A", listener_now())
        hub.stop()

    asyncio.run(run())


def test_a_silent_stream_has_comments_and_ends_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(hub_module, "COMMENT_S", 0.05)
        hub = hub_of(Source())
        valid = [True]
        listener = Listener(None, now_s=time.monotonic(), may_stay=lambda: valid[0])
        await hub.listen("A", listener)
        assert (await blocks_of(listener, 2))[1] == b": still here\n\n"
        valid[0] = False
        assert b"not valid" in (await blocks_of(listener, 1))[0]
        hub.stop()

    asyncio.run(run())


def test_a_listener_that_cannot_be_tended_takes_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise KeyError("key")

    async def run() -> None:
        monkeypatch.setattr(hub_module, "COMMENT_S", 0.05)
        hub = hub_of(Source())
        await hub.listen("A", Listener(None, now_s=time.monotonic(), may_stay=broken))
        other = listener_now()
        await hub.listen("A", other)
        assert (await blocks_of(other, 3))[1:] == [b": still here\n\n"] * 2
        hub.stop()

    asyncio.run(run())


def test_a_round_that_breaks_is_not_the_last() -> None:
    async def run() -> None:
        source, is_broken = Source(), False

        def cost(_subject: Subject) -> int:
            if is_broken:
                raise KeyError("cost")
            return 1

        hub = hub_of(source, cost=cost)
        listener = listener_now()
        await hub.listen("A", listener)
        await blocks_of(listener, 1)
        is_broken = True
        await asyncio.sleep(0.1)
        is_broken, source.views["A"] = False, 5
        assert b"id: 7-5" in (await blocks_of(listener, 1))[0]
        hub.stop()

    asyncio.run(run())


@pytest.mark.parametrize("task", [0, 1])
def test_a_task_that_has_ended_begins_again_with_the_next_listener(monkeypatch: pytest.MonkeyPatch, task: int) -> None:
    async def run() -> None:
        monkeypatch.setattr(hub_module, "COMMENT_S", 0.05)
        hub = hub_of(Source())
        first = listener_now()
        await hub.listen("A", first)
        hub._tasks[task].cancel()
        await until(hub._tasks[task].done)
        second = listener_now()
        async with asyncio.timeout(30):
            await hub.listen("B", second)
        for one in (first, second):
            assert (await blocks_of(one, 2))[1] == b": still here\n\n"
        hub.stop()

    asyncio.run(run())


def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(hub_module, "SLOW_S", 0.05)
        hub = hub_of(Source())
        listener = listener_now()
        await hub.listen("A", listener)
        dropped = asyncio.Event()
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and message["body"]:
                await dropped.wait()

        async def receive() -> Message:
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        left = asyncio.Event()
        stream = EventStream(listener, left.set)
        scope = {"type": "http", "method": "GET", "state": {"connection_abort": dropped.set}}
        async with asyncio.timeout(30):
            await stream(scope, receive, send)
        assert left.is_set()
        assert sent[-1]["more_body"] is False
        hub.stop()

    asyncio.run(run())


# --- the same numbers


def test_what_is_listened_to_is_what_is_answered(tmp_path: Path) -> None:
    async def run() -> None:
        tables = full(empty_history(tmp_path))
        # Kinds that are asked for together must have what each has alone.
        tables._of_imported = Tables._of_imported.__get__(tables)  # type: ignore[method-assign]
        clock = [NOW]
        watch = TrustWatch(tables.reads, lambda: clock[0], lateness_ms=Settings().counting.lateness_ms, overflow=None)
        asked = Asked(Settings(), tables, lambda: clock[0], None, watch)
        videos = Videos(asked)
        reading = Reading(asked, videos, Top(asked))
        names = [TotalOf("A", "view"), TotalOf("B", "view"), TotalOf("A", "like"), TotalOf("A", "blocked:view")]
        found = await reading.read([*names, TopQuestion("view", "hour", 10, None)], 1)
        for one in names:
            held = found[one]
            assert isinstance(held, State)
            total = await videos.total(one.video_id, one.kind)
            assert held.place == Place(7, total.views)
            assert msgspec.json.decode(held.data) == {**msgspec.to_builtins(total), "every_s": 1}
        assert found[names[0]] != found[names[1]]
        # History ends at 15:00, so that only this day's minutes are read; two days later it would be three days.
        assert reading.cost(names[0]) == 1
        clock[0] = NOW + timedelta(days=2)
        await reading.read(names, 1)
        assert reading.cost(names[0]) == 3

    asyncio.run(run())
