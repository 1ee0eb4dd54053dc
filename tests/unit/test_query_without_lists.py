"""The query service where tables of lists are missing: everything else is answered, and lists once they are there."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import InvalidRequest

from services.query.counts import session as query_session
from services.query.counts.session import ReadSession, StoreAwayError
from settings import CassandraSettings


class Session:
    """Answers nothing but that; tables that it lacks it does not prepare for."""

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        self.cluster = SimpleNamespace(shutdown=lambda: None)

    def prepare(self, text: str) -> str:
        table = text.partition(" FROM ")[2].split(maxsplit=1)[0]
        if table in self.missing:
            raise InvalidRequest(f"unconfigured table {table}")
        return text

    def execute_async(self, _statement: str, _values: object, **_named: object) -> Any:
        return SimpleNamespace(add_callbacks=lambda done, _failed: done([]), has_more_pages=False)


def connected(monkeypatch: pytest.MonkeyPatch, session: Session) -> ReadSession:
    monkeypatch.setattr(query_session, "connect", lambda _settings: session)
    made = ReadSession(CassandraSettings())
    made._connect_once()
    return made


def test_totals_are_answered_without_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session({"top_videos", "top_videos_by_hour", "top_videos_by_day"})
    made = connected(monkeypatch, session)

    async def ask() -> None:
        made._loop = asyncio.get_running_loop()
        for statement in ("progress", "bases", "minutes", "hours", "days"):
            assert await made.rows(statement, ()) == []
        for statement in ("top", "top_of_hour", "top_of_day"):
            with pytest.raises(StoreAwayError):
                await made.rows(statement, ())
        session.missing = set()
        assert await made.rows("top", ()) == []

    asyncio.run(ask())


def test_without_counts_it_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest):
        connected(monkeypatch, Session({"views_by_minute"}))
