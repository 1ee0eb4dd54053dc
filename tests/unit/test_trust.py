"""How the stream is and what audits found: quiet is told from broken, and what is not known is not called good."""

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from services.query.counts.trust import (
    AUDIT_FIELD,
    STATUS_FIELD,
    Audited,
    Audits,
    Status,
    Stream,
    Trust,
    newest_audit,
    newest_of_hours,
    status,
    trust_headers,
)
from services.query.counts.trust_watch import TrustWatch
from tests.support.full_tables import NOW
from udfs.logic.overflow.object_name import Destination, ObjectName
from udfs.logic.overflow.waiting import Listing

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATENESS_MS = 600_000
# With a frontier 30 s ago.
CLOSED = NOW - timedelta(minutes=10, seconds=30)


def known(**changes: Any) -> Trust:
    return Trust(LATENESS_MS, Stream(NOW, CLOSED, is_quiet=False)._replace(**changes))


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        (known(), (Status.HEALTHY, 30)),
        (known(is_quiet=True), (Status.IDLE, 30)),
        # Quiet or not: minutes are closed while nobody sends, so it is broken.
        (known(complete=CLOSED - 3 * MINUTE), (Status.STALLED, 210)),
        (known(complete=CLOSED - 3 * MINUTE, is_quiet=True), (Status.STALLED, 210)),
        (known(complete=CLOSED - 2 * MINUTE), (Status.HEALTHY, 150)),
        # A clock is wrong, and a frontier in the future is no sign of life.
        (known(complete=CLOSED + 2 * MINUTE), (Status.UNKNOWN, None)),
        (known(complete=CLOSED + MINUTE), (Status.HEALTHY, 0)),
        (known(complete=None), (Status.UNKNOWN, None)),
        (known(read_at=NOW - timedelta(seconds=16)), (Status.UNKNOWN, None)),
        (Trust(LATENESS_MS), (Status.UNKNOWN, None)),
    ],
)
def test_a_quiet_stream_is_told_from_a_broken_one(trust: Trust, expected: tuple[Status, int | None]) -> None:
    assert status(trust, now=NOW) == expected


def test_the_verdict_is_of_the_hours_asked_for_or_of_the_newest_audit() -> None:
    clean, wrong, mended = Audited(NOW - DAY, 0, 0), Audited(NOW - HOUR, 3, 1), Audited(NOW, 2, 2)
    hours = {NOW - 5 * HOUR: clean, NOW - 4 * HOUR: wrong, NOW - 3 * HOUR: mended}
    trust = Trust(LATENESS_MS, audits=Audits(NOW, Audited(NOW, 0, 0), hours))

    def said(*ago: int) -> str:
        span = (NOW - ago[0] * HOUR, NOW - ago[1] * HOUR) if ago else None
        return trust_headers(trust, now=NOW, span=span)[AUDIT_FIELD]

    assert said() == 'clean;at="2026-03-20T15:30:00Z";wrong=0;repaired=0'
    assert said(900, 800) == said()
    assert said(5, 4) == 'clean;at="2026-03-19T15:30:00Z";wrong=0;repaired=0;hours=1'
    assert said(5, 3) == 'wrong;at="2026-03-20T14:30:00Z";wrong=3;repaired=1;hours=2'
    assert said(3, 2) == 'repaired;at="2026-03-20T15:30:00Z";wrong=2;repaired=2;hours=1'
    # The span that ends within an hour is about that hour.
    assert said(6, 3) == said(5, 3)
    later = trust_headers(trust, now=NOW + 11 * MINUTE)
    assert later == {STATUS_FIELD: "unknown", AUDIT_FIELD: "unknown"}
    assert trust_headers(Trust(LATENESS_MS, audits=Audits(NOW, None)), now=NOW)[AUDIT_FIELD] == "none"


def test_the_newest_verdict_counts_and_no_comparison_makes_up_for_another() -> None:
    old, new = Audited(NOW - DAY, 5, 0), Audited(NOW, 0, 0)
    for rows in ([(NOW, old), (NOW, new)], [(NOW, new), (NOW, old)]):
        assert newest_of_hours(rows) == {NOW: new}
    assert newest_audit([]) is None
    found = newest_audit([Audited(NOW, 2, 0), Audited(NOW, 1, 9), old])
    assert found == Audited(NOW, 3, 1)
    assert found.state == "wrong"


class Rows:
    """What Cassandra answers, by statement; an error in place of an answer is raised."""

    def __init__(self) -> None:
        self.received = 0
        self.audited: list[datetime] = []
        self.trouble: Exception | None = None

    async def rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        if self.trouble is not None:
            raise self.trouble
        bare = NOW.replace(tzinfo=None)
        if statement == "progress":
            return [(0, 1, CLOSED.replace(tzinfo=None))]
        if statement == "newest_ledger":
            (minutes,) = values
            assert bare.replace(second=0) in minutes
            return [SimpleNamespace(received=self.received), SimpleNamespace(received=None)]
        if statement == "verdicts":
            hour = bare.replace(minute=0)
            late = {"late": 4, "wrong": 1, "repaired": 5}
            return [SimpleNamespace(hour=hour, audited_at=bare, **late)] if values == (NOW.date(),) else []
        if statement == "newest_audit":
            return [
                SimpleNamespace(audited_at=at.replace(tzinfo=None)) for at in self.audited if at.date() == values[0]
            ]
        assert statement == "findings"
        return [SimpleNamespace(wrong=0, repaired=0), SimpleNamespace(wrong=2, repaired=1)]


class Overflow:
    """One that has this listing."""

    def __init__(self, listing: Listing | None) -> None:
        self.listing = listing


def read(rows: Rows, overflow: Any = None) -> Trust:
    watch = TrustWatch(rows, lambda: NOW, lateness_ms=LATENESS_MS, overflow=overflow)

    async def both() -> None:
        await watch.read_stream()
        await watch.read_audits()

    asyncio.run(both())
    return watch.known


def test_what_is_read_says_whether_anybody_sends() -> None:
    rows = Rows()
    assert status(read(rows), now=NOW)[0] is Status.IDLE
    made_ms = int(NOW.timestamp() * 1000)
    waits = Listing(made_ms, [ObjectName(made_ms, "i", 1, Destination.EVENTS, 0, 0, 3)])
    assert status(read(rows, Overflow(waits)), now=NOW)[0] is Status.HEALTHY, "somebody sends, and it waits"
    assert status(read(rows, Overflow(None)), now=NOW)[0] is Status.HEALTHY, "nobody knows that nothing waits"
    assert status(read(rows, Overflow(Listing(made_ms))), now=NOW)[0] is Status.IDLE
    rows.received = 1
    assert status(read(rows), now=NOW)[0] is Status.HEALTHY


def test_late_cells_that_a_repair_wrote_do_not_hide_wrong_ones() -> None:
    rows = Rows()
    trust = read(rows)
    assert trust.audits is not None
    hour = NOW.replace(minute=0)
    assert trust.audits.hours == {hour: Audited(NOW, 1, 1)}
    assert trust.audits.newest == Audited(NOW, 1, 1)
    # An audit whose findings are newer than its verdicts on minutes, of which it had none.
    rows.audited = [NOW - 3 * DAY]
    trust = read(rows)
    assert trust.audits is not None
    assert trust.audits.newest == Audited(NOW, 1, 1)


def test_what_cannot_be_read_stays_and_ages() -> None:
    rows = Rows()
    watch = TrustWatch(rows, lambda: NOW, lateness_ms=LATENESS_MS)

    async def some_time() -> None:
        task = asyncio.create_task(watch.run())
        while watch.known.audits is None:
            await asyncio.sleep(0)
        rows.trouble = ConnectionError("away")
        before = watch.known
        with pytest.raises(ConnectionError):
            await watch.read_stream()
        assert watch.known is before
        task.cancel()

    asyncio.run(asyncio.wait_for(some_time(), 10))
    later = NOW + timedelta(seconds=16)
    assert status(watch.known, now=later) == (Status.UNKNOWN, None)
