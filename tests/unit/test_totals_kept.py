"""What is held of a total that is no longer fresh: its closed minutes, and nothing that no bound counts."""

import asyncio
import gc
import weakref
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

from services.query.counts.known import Known
from services.query.counts.session import ReadSession
from services.query.counts.totals import Totals
from tests.support.registers import register_of
from udfs.logic.history.register import Applied, manifest_name
from udfs.logic.overflow.waiting import Listing

NOW = datetime(2026, 3, 20, 22, 30, tzinfo=UTC)
THROUGH = int(NOW.timestamp()) // 3600


def known() -> Known:
    applied = Applied(manifest_name(7, "a"), 1, 0, THROUGH, THROUGH)
    return Known(0.0, Listing(1), NOW, register_of("s3://here/h", applied, NOW), ())


def totals(statements: list[str], fresh_s: float) -> Totals:
    async def rows(statement: str, _values: tuple[Any, ...]) -> list[Any]:
        statements.append(statement)
        if statement != "bases":
            return []
        end = NOW.replace(minute=0, tzinfo=None)
        return [SimpleNamespace(video_id="a", kind="view", views=7, late_added=None, complete_through=end)]

    session = mock.create_autospec(ReadSession, instance=True)
    session.rows = rows
    return Totals(session, kept_days=8, fresh_s=fresh_s, bytes_max=1 << 20)


def test_a_total_that_is_not_fresh_keeps_no_listing() -> None:
    """Each would keep a listing of its own, of up to some megabytes."""

    async def ask() -> None:
        statements: list[str] = []
        held = totals(statements, fresh_s=0.01)
        first = known()
        kept = weakref.ref(first)
        assert (await held.get("a", ("view",), first, now=NOW)).views == (7,)
        del first
        async with asyncio.timeout(10):
            while kept() is not None:
                await asyncio.sleep(0.01)
                gc.collect()
        # The row of the rollup is still held.
        assert (await held.get("a", ("view",), known(), now=NOW)).views == (7,)
        assert statements == ["bases", "recent_minutes", "recent_minutes"]

    asyncio.run(ask())


def test_a_fresh_total_is_answered_with_what_was_known_before_it_was_read() -> None:
    async def ask() -> None:
        statements: list[str] = []
        held = totals(statements, fresh_s=1000)
        first = known()
        await held.get("a", ("view",), first, now=NOW)
        assert (await held.get("a", ("view",), known(), now=NOW)).known is first
        assert statements == ["bases", "recent_minutes"]

    asyncio.run(ask())
