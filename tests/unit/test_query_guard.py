"""A store that fails or hangs is left alone after some calls, and comes back by itself. No server."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs
import pytest
from cassandra import InvalidRequest, OperationTimedOut
from prometheus_client import CollectorRegistry, generate_latest

from services.query.counts.breaker import Breaker
from services.query.counts.cold import History
from services.query.counts.completeness import HistoryAwayError
from services.query.counts.guard import Guard, NoAnswerError
from services.query.counts.session import BESIDE_AT_ONCE, PARTITIONS_AT_ONCE, ReadSession, StoreAwayError
from services.query.metrics import add_stores
from settings import CassandraSettings
from tests.support.history import write_history
from tests.support.registers import put_manifest
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_breaker_opens_after_failures_in_succession_and_pauses_ever_longer() -> None:
    breaker = Breaker(3, 1.0, 3.0)
    for now_s in (0.0, 1.0):
        breaker.failed(now_s)
    breaker.succeeded()
    for now_s in (2.0, 3.0):
        breaker.failed(now_s)
    assert not breaker.is_open
    breaker.failed(4.0)
    assert (breaker.is_open, breaker.pause_s(4.25)) == (True, 0.75)
    # It began before the breaker opened, and is no probe.
    breaker.failed(4.5)
    assert breaker.pause_s(4.5) == 0.5
    pauses = []
    now_s = 5.0
    for _ in range(3):
        breaker.failed(now_s)
        pauses.append(breaker.pause_s(now_s))
        now_s += pauses[-1]
    assert pauses == [2.0, 3.0, 3.0]
    breaker.succeeded()
    assert not breaker.is_open


class Store:
    """Answers, fails, or hangs until it is let go."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.calls = 0

    async def answer(self) -> str:
        self.calls += 1
        if self.trouble is not None:
            raise self.trouble
        await self.hangs.wait()
        return "answer"


def guarded(timeout_s: float = 60.0, at_once: int = 4, pause_s: float = 0.0) -> Guard:
    return Guard("the store", Breaker(2, pause_s, pause_s), (OSError,), timeout_s=timeout_s, at_once=at_once)


def test_a_store_that_fails_is_asked_by_the_probe_alone_until_it_answers() -> None:
    async def run() -> None:
        store, guard = Store(), guarded(pause_s=0.01)
        store.trouble = OSError("away")
        for _ in range(2):
            with pytest.raises(NoAnswerError, match="the store does not answer: OSError"):
                await guard.ask(store.answer)
        with pytest.raises(NoAnswerError, match="asked again every few seconds"):
            await guard.ask(store.answer)
        assert store.calls == 2
        store.trouble = None
        while guard.is_open:
            await asyncio.sleep(0)
        assert store.calls == 3
        assert await guard.ask(store.answer) == "answer"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_store_that_hangs_costs_the_time_out_and_then_nothing() -> None:
    async def run() -> None:
        store, guard = Store(), guarded(timeout_s=0.02)
        store.hangs.clear()
        found = await asyncio.gather(*(guard.ask(store.answer) for _ in range(3)), return_exceptions=True)
        assert {str(one) for one in found} == {"the store does not answer within 0.02 s"}
        assert guard.is_open
        store.hangs.set()
        while guard.is_open:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_who_waits_for_a_turn_in_vain_says_nothing_of_the_store() -> None:
    async def run() -> None:
        store, guard = Store(), guarded(timeout_s=0.05)
        turn = asyncio.Semaphore(1)
        async with turn:
            found = await asyncio.gather(*(guard.ask(store.answer, turn) for _ in range(5)), return_exceptions=True)
        assert [str(one) for one in found] == ["too many reads wait for the store"] * 5
        assert (store.calls, guard.is_open) == (0, False)
        # Nor does a caller who goes away.
        store.hangs.clear()
        for _ in range(5):
            leaving = asyncio.create_task(guard.ask(store.answer))
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert (store.calls, guard.is_open) == (5, False)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_an_error_that_is_an_answer_closes_the_breaker() -> None:
    async def run() -> None:
        store, guard = Store(), guarded()
        store.trouble = OSError("away")
        for _ in range(2):
            with pytest.raises(NoAnswerError):
                await guard.ask(store.answer)
        store.trouble = KeyError("no such thing")
        while guard.is_open:
            await asyncio.sleep(0)
        with pytest.raises(KeyError):
            await guard.ask(store.answer)
        guard.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


async def until_it_is_back(store: ReadSession | History) -> None:
    while store.is_away:
        await asyncio.sleep(0.01)


# --- Cassandra


class Cluster:
    """A session of the driver's whose answers never come, fail, or are no rows."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.is_silent = False
        self.asked: list[str] = []

    def execute_async(self, statement: str, _values: object, timeout: float) -> Any:
        assert timeout > 0
        self.asked.append(statement)
        return SimpleNamespace(add_callbacks=self._tell, has_more_pages=False)

    def _tell(self, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        if self.trouble is not None:
            failed(self.trouble)
        elif not self.is_silent:
            done([])


def session_on(cluster: Cluster, timeout_s: float) -> ReadSession:
    made = ReadSession(CassandraSettings(), timeout_s)
    made._session = cluster
    made._statements = {name: name for name in ("bases", "progress", "ledger", "newest_ledger")}
    return made


def run_on(session: ReadSession, run: Callable[[], Awaitable[None]]) -> None:
    async def on_loop() -> None:
        session._loop = asyncio.get_running_loop()
        await run()

    asyncio.run(asyncio.wait_for(on_loop(), 30))


def test_clients_keep_neither_readiness_nor_metrics_waiting() -> None:
    cluster = Cluster()
    session = session_on(cluster, 60.0)

    async def run() -> None:
        cluster.is_silent = True
        clients = [asyncio.create_task(session.rows("ledger", ())) for _ in range(5 * PARTITIONS_AT_ONCE)]
        await asyncio.sleep(0)
        assert cluster.asked == ["ledger"] * PARTITIONS_AT_ONCE
        cluster.is_silent = False
        assert await session.rows("progress", ()) == []
        assert await session.rows("newest_ledger", ()) == []
        for client in clients:
            client.cancel()
        assert BESIDE_AT_ONCE >= 3, "readiness reads that many at once"

    run_on(session, run)


def test_a_cassandra_that_hangs_is_left_alone_and_then_answers_again() -> None:
    cluster = Cluster()
    session = session_on(cluster, 0.02)
    registry = CollectorRegistry()
    add_stores(registry, {"cassandra": lambda: session.is_away})

    async def run() -> None:
        assert b'view_counts_query_store_answers{store="cassandra"} 1.0' in generate_latest(registry)
        cluster.is_silent = True
        while not session.is_away:
            with pytest.raises(StoreAwayError):
                await session.rows("bases", ())
        assert b'view_counts_query_store_answers{store="cassandra"} 0.0' in generate_latest(registry)
        asked = len(cluster.asked)
        with pytest.raises(StoreAwayError, match="asked again"):
            await session.rows("bases", ())
        assert len(cluster.asked) == asked
        cluster.is_silent = False
        await until_it_is_back(session)
        # The probe asked for what costs Cassandra little, and not for what had failed.
        assert cluster.asked[asked:] == ["progress"]
        assert await session.rows("bases", ()) == []

    run_on(session, run)


def test_a_cassandra_that_refuses_a_statement_is_there() -> None:
    cluster = Cluster()
    session = session_on(cluster, 60.0)

    async def run() -> None:
        for trouble, is_away in ((InvalidRequest("no such column"), False), (OperationTimedOut(), True)):
            cluster.trouble = trouble
            for _ in range(9):
                with pytest.raises(StoreAwayError):
                    await session.rows("bases", ())
            assert session.is_away == is_away
        session._guard.stop()

    run_on(session, run)


# --- history


class Files(HistoryFiles):
    """Files of a store that hangs, fails, or gives other bytes than were written."""

    def __init__(self, store: pyarrow.fs.FileSystem, root: str) -> None:
        super().__init__(store, root)
        self.trouble: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.calls = 0

    def rows(self, *asked: Any) -> list[tuple[int, int]]:
        self.calls += 1
        self.answers.wait()
        if self.trouble is not None:
            raise self.trouble
        return super().rows(*asked)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    store = HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path))
    first = int(START.timestamp()) // 60
    manifest = write_history(
        store,
        {("A", "view", first + 60 * hour): hour + 1 for hour in range(4)},
        shards=1,
        from_hour=first // 60,
        through_hour=first // 60 + 4,
    )
    put_manifest(store, manifest, name="manifests/1-a.json")
    return Files(pyarrow.fs.LocalFileSystem(), str(tmp_path))


def asked(history: History, hours: int = 1) -> Any:
    return history.rows("manifests/1-a.json", "hours", "A", "view", [(START, START + hours * HOUR)])


def test_a_store_that_hangs_is_left_alone_and_history_is_there_again_by_itself(files: Files) -> None:
    async def run() -> None:
        history = History(files, files_max=100, timeout_s=0.1)
        assert await asked(history) == [(START.replace(tzinfo=None), 1)]
        files.answers.clear()
        while not history.is_away:
            with pytest.raises(HistoryAwayError, match="does not answer") as away:
                await asked(history)
            assert away.value.unknown == (START, START + HOUR)
        calls = files.calls
        with pytest.raises(HistoryAwayError, match="asked again"):
            await asked(history)
        assert files.calls == calls
        files.answers.set()
        await until_it_is_back(history)
        assert await asked(history) == [(START.replace(tzinfo=None), 1)]
        history.stop()

    try:
        asyncio.run(asyncio.wait_for(run(), 30))
    finally:
        files.answers.set()


def test_all_files_of_an_answer_have_a_time_together(files: Files) -> None:
    async def run() -> None:
        history = History(files, files_max=100, answer_timeout_s=0.1)
        files.answers.clear()
        with pytest.raises(HistoryAwayError, match=r"slow: not all was read within 0\.1 s; narrow the range") as away:
            await asked(history, hours=4)
        assert (away.value.unknown, history.is_away) == ((START, START + 4 * HOUR), False)
        history.stop()

    try:
        asyncio.run(asyncio.wait_for(run(), 30))
    finally:
        files.answers.set()


@pytest.mark.parametrize(
    "trouble", [pyarrow.ArrowInvalid("not Parquet"), pyarrow.ArrowKeyError("views"), ValueError("x")]
)
def test_a_store_that_lies_gives_no_number_and_is_asked_on(files: Files, trouble: Exception) -> None:
    async def run() -> None:
        history = History(files, files_max=100)
        files.trouble = trouble
        for _ in range(9):
            with pytest.raises(HistoryAwayError, match="history cannot be read"):
                await asked(history)
        files.trouble = None
        assert await asked(history) == [(START.replace(tzinfo=None), 1)]
        history.stop()

    asyncio.run(asyncio.wait_for(run(), 30))
