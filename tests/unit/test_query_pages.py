"""The query service reads every page of an answer: the driver hands a callback one at a time."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import OperationTimedOut

from services.query.counts.session import ReadSession, StoreAwayError
from services.query.counts.store import CountStore
from services.query.counts.top import TopQuestion
from settings import CassandraSettings, QuerySettings

PAGE_ROWS = 5000
NEWEST = datetime(2026, 1, 1, 12, 30)
MINUTE = timedelta(minutes=1)


class Future:
    """As the driver's: each page comes to the callback on a thread of its own."""

    def __init__(self, rows: Sequence[Any], fails_at: int) -> None:
        self._pages = [rows[at : at + PAGE_ROWS] for at in range(0, len(rows), PAGE_ROWS)] or [[]]
        self._fails_at = fails_at
        self._page = 0

    def add_callbacks(self, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        self._done, self._failed = done, failed
        self._send()

    @property
    def has_more_pages(self) -> bool:
        return self._page < len(self._pages)

    def start_fetching_next_page(self) -> None:
        self._send()

    def _send(self) -> None:
        page, self._page = self._page, self._page + 1
        if page == self._fails_at:
            threading.Thread(target=self._failed, args=(OperationTimedOut(),)).start()
        else:
            threading.Thread(target=self._done, args=(self._pages[page],)).start()


def session_of(rows: Sequence[Any], fails_at: int = -1) -> ReadSession:
    """One that answers these rows to whatever is asked of the lists' first kind, and nothing else."""
    made = ReadSession(CassandraSettings())
    made._session = SimpleNamespace(
        execute_async=lambda _statement, values, **_named: Future(rows if values[:1] == ("view",) else [], fails_at)
    )
    made._statements = {"top": "top"}
    return made


def asked(session: ReadSession, question: Callable[[], Any]) -> Any:
    async def ask() -> Any:
        session._loop = asyncio.get_running_loop()
        return await asyncio.wait_for(question(), 30)

    return asyncio.run(ask())


def test_rows_of_all_pages_are_one_answer() -> None:
    rows = list(range(2 * PAGE_ROWS + 1))
    session = session_of(rows)
    assert asked(session, lambda: session.rows("top", ("view",))) == rows


def test_the_newest_list_of_many_shards_is_not_cut() -> None:
    minutes = [NEWEST - n * MINUTE for n in range(30, -1, -1)]
    rows = [(minute, shard, [(f"v{shard}", 1, 0)], None) for minute in minutes for shard in range(256)]
    session = session_of(rows)
    history: Any = None
    store = CountStore(session, QuerySettings(), history)
    question = TopQuestion("view", "hour", 10, None)
    minute, *_ = asked(session, lambda: store.top(question, now=NEWEST.replace(tzinfo=UTC)))
    assert minute == NEWEST.replace(tzinfo=UTC)


def test_a_page_that_fails_fails_the_answer() -> None:
    session = session_of(list(range(PAGE_ROWS + 1)), fails_at=1)
    with pytest.raises(StoreAwayError):
        asked(session, lambda: session.rows("top", ("view",)))
