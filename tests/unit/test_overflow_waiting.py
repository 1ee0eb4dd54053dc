"""An answer knows what lay in overflow when its listing began, and claims no more than that."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from services.query.counts.arrivals import Arrivals, overflow_notice
from services.query.counts.overflow_watch import OverflowWatch
from settings.durations import HOUR_MS, MINUTE_MS
from udfs.logic.overflow.object_name import Destination, ObjectName
from udfs.logic.overflow.waiting import Listing, Waits

NOW = datetime(2026, 3, 20, 15, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
LATENESS_MS = 10 * MINUTE_MS
# With a frontier at 15:00:30.
CLOSED = NOW - timedelta(minutes=10)
MINUTE = timedelta(minutes=1)


def named(
    made_ms: int, first_ms: int, last_ms: int, events: int = 5, destination: Destination = Destination.EVENTS
) -> ObjectName:
    return ObjectName(made_ms, "i", 1, destination, first_ms // MINUTE_MS, last_ms // MINUTE_MS, events)


def arrivals(*names: ObjectName, began_ms: int = NOW_MS + 1000) -> Arrivals:
    return Arrivals(CLOSED, Listing(began_ms, names), LATENESS_MS)


def test_without_objects_an_answer_is_as_complete_as_the_stream() -> None:
    found = arrivals()
    assert found.complete_through(CLOSED) == CLOSED
    assert found.through() == NOW
    assert found.waiting() is None


def test_an_answer_is_not_complete_where_events_may_wait() -> None:
    found = arrivals(
        named(NOW_MS - 60_000, NOW_MS - HOUR_MS, NOW_MS - HOUR_MS + MINUTE_MS, 7),
        named(NOW_MS - 30_000, NOW_MS - 2 * MINUTE_MS, NOW_MS - MINUTE_MS),
    )
    hour_ago = NOW - timedelta(hours=1)
    assert found.complete_through(CLOSED) == hour_ago
    assert found.through() == NOW - MINUTE
    assert found.waiting() == Waits(12, NOW_MS - 60_000)
    # Of other times nothing waits.
    before = hour_ago - timedelta(hours=1), hour_ago
    assert found.complete_through(before[1], before) == before[1]
    assert (found.through(before), found.waiting(before)) == (NOW, None)
    after = hour_ago + 2 * MINUTE, NOW
    assert found.complete_through(CLOSED, after) == CLOSED
    assert found.waiting(after) == Waits(5, NOW_MS - 30_000)
    touching = hour_ago + MINUTE, NOW
    assert found.waiting(touching) == Waits(12, NOW_MS - 60_000)


def test_diverted_events_are_waited_for_by_nobody() -> None:
    assert arrivals(named(NOW_MS - HOUR_MS, 0, 0, destination=Destination.DIVERTED)).waiting() is None


@pytest.mark.parametrize("age_min", [0, 1, 30])
def test_an_old_listing_makes_answers_complete_no_further_than_itself(age_min: int) -> None:
    began_ms = NOW_MS - age_min * MINUTE_MS
    found = arrivals(began_ms=began_ms)
    assert found.complete_through(CLOSED) == CLOSED - age_min * MINUTE
    assert found.through() == NOW - age_min * MINUTE


def test_without_any_listing_nothing_is_complete() -> None:
    found = Arrivals(CLOSED, None, LATENESS_MS)
    assert (found.complete_through(CLOSED), found.through(), found.waiting()) == (None, None, None)


def test_where_overflow_is_off_the_stream_alone_counts() -> None:
    found = Arrivals(CLOSED, None, LATENESS_MS, is_watched=False)
    assert (found.complete_through(CLOSED), found.through(), found.waiting()) == (CLOSED, NOW, None)
    assert Arrivals(None, None, LATENESS_MS, is_watched=False).through() is None


class Folder:
    """Lists one object, or fails."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def names(self) -> list[ObjectName]:
        if self.error is not None:
            raise self.error
        return [named(0, 0, 0, 7)]


def test_a_listing_that_fails_leaves_the_last_one() -> None:
    folder, registry = Folder(), CollectorRegistry()
    watch = OverflowWatch(folder.names, 0.001, registry)

    def shown(name: str) -> float:
        value = registry.get_sample_value(f"view_counts_overflow_{name}")
        assert value is not None
        return value

    async def listed() -> None:
        task = asyncio.create_task(watch.run())
        while watch.listing is None:
            await asyncio.sleep(0.001)
        folder.error = ConnectionError("no route")
        await asyncio.sleep(0.05)
        first = watch.listing
        await asyncio.sleep(0.05)
        assert watch.listing is first
        assert not task.done()
        task.cancel()

    assert math.isnan(shown("waiting_events"))
    asyncio.run(listed())
    assert watch.listing is not None
    assert shown("waiting_events") == 7
    assert shown("oldest_age_seconds") > 1e9
    assert shown("listed_timestamp_seconds") == watch.listing.began_ms / 1000


def test_operators_are_told_of_old_objects_and_of_a_folder_that_cannot_be_listed() -> None:
    def notice(age_ms: int, began_ms: int = NOW_MS) -> str:
        listing = Listing(began_ms, [named(NOW_MS - age_ms, 0, 0)])
        return " ".join(overflow_notice(listing, now=NOW, list_s=3, late_hours=100))

    assert overflow_notice(Listing(NOW_MS), now=NOW, list_s=3, late_hours=100) == []
    assert "drainers" not in notice(9 * HOUR_MS)
    assert "drainers" in notice(11 * HOUR_MS)
    assert "at once" not in notice(49 * HOUR_MS)
    assert "at once" in notice(51 * HOUR_MS)
    assert "could not be listed" in notice(0, NOW_MS - 10 * MINUTE_MS)
    assert "could not be listed" in "".join(overflow_notice(None, now=NOW, list_s=3, late_hours=100))


def test_a_point_is_complete_unless_events_of_it_may_wait_or_are_missing() -> None:
    hour_ago = NOW - timedelta(hours=1)
    waiting = named(NOW_MS - 60_000, NOW_MS - HOUR_MS, NOW_MS - HOUR_MS + MINUTE_MS)
    closed = arrivals(waiting).closed(CLOSED, [(hour_ago - 9 * MINUTE, hour_ago - 8 * MINUTE)])
    starts = [hour_ago + n * MINUTE for n in range(-12, 55)]
    found = [start for start in starts if not closed.has(start, start + MINUTE)]
    assert found == [
        hour_ago - 9 * MINUTE,
        hour_ago,
        hour_ago + MINUTE,
        *(start for start in starts if start >= CLOSED),
    ]
    assert not closed.has(hour_ago - 9 * MINUTE, hour_ago)
    assert not closed.has(hour_ago - MINUTE, hour_ago + MINUTE)
    assert closed.has(hour_ago - 8 * MINUTE, hour_ago)
    # Each point of an answer is as complete as an answer about that point alone.
    for start in starts:
        alone = arrivals(waiting).complete_through(CLOSED, (start, start + MINUTE))
        is_missing = start == hour_ago - 9 * MINUTE
        assert closed.has(start, start + MINUTE) == (alone is not None and alone >= start + MINUTE and not is_missing)


def test_no_point_is_complete_while_nobody_knows_what_waits() -> None:
    point = NOW - timedelta(hours=5), NOW - timedelta(hours=4)
    assert not Arrivals(CLOSED, None, LATENESS_MS).closed(CLOSED).has(*point)
    assert not arrivals().closed(None).has(*point)
    assert Arrivals(CLOSED, None, LATENESS_MS, is_watched=False).closed(CLOSED).has(*point)
    # A listing that is two hours old knows nothing of what has come since.
    assert not arrivals(began_ms=NOW_MS - 4 * HOUR_MS).closed(CLOSED).has(*point)
    assert arrivals(began_ms=NOW_MS - 3 * HOUR_MS).closed(CLOSED).has(*point)
