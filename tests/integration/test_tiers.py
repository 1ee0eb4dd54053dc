"""Minutes, hours and days answer the same after the tables have forgotten them: Cassandra, S3, and a moved clock."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pyarrow as pa
import pytest

from services.query.app import build_service
from settings import QuerySettings, S3Settings, Settings
from tests.support.history import write_history
from tests.support.installation import Installation
from tests.support.registers import applied_of, put_manifest, put_register
from tools.stack import Stack
from tools.stack.machine.ports import HOST
from udfs.logic.history.manifest import date_of
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.sinks.cassandra_writer import CountWriter
from udfs.sinks.history_rows import HistoryRows
from udfs.stores.archive import filesystem
from udfs.stores.history_store import HistoryStore

DAY = timedelta(days=1)
# In Berlin that day has 25 hours.
START = datetime(2026, 10, 25, tzinfo=UTC)
FIRST_MINUTE = int(START.timestamp()) // 60
VIDEO = "a/b ü"
KEPT_DAYS = {"views_by_minute": 8, "views_by_hour": 100}
QUESTIONS = {
    "minute": {"granularity": "minute", "from": "2026-10-25T00:00:00Z", "to": "2026-10-26T00:00:00Z"},
    "hour": {"granularity": "hour", "from": "2026-10-24T00:00:00Z", "to": "2026-10-27T00:00:00Z"},
    "day": {"granularity": "day", "from": "2026-10-24T00:00:00Z", "to": "2026-10-27T00:00:00Z"},
    "Berlin": {
        "granularity": "day",
        "zone": "Europe/Berlin",
        "from": "2026-10-24T22:00:00Z",
        "to": "2026-10-25T23:00:00Z",
    },
    "Kathmandu": {
        "granularity": "day",
        "zone": "Asia/Kathmandu",
        "from": "2026-10-25T00:00:00Z",
        "to": "2026-10-25T20:00:00Z",
    },
}


@pytest.fixture(scope="module")
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "tiers", {}, trusted_times=False) as made:
        yield made


@contextlib.asynccontextmanager
async def serving(settings: Settings, now: Callable[[], datetime]) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service, once that is connected to Cassandra."""
    app = build_service(settings, now).public
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost", timeout=60) as client,
    ):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.1)
        yield client


async def ask(client: httpx2.AsyncClient, question: str) -> httpx2.Response:
    return await client.get(f"/v1/videos/{quote(VIDEO)}/series", params=QUESTIONS[question])


def summed(counts: dict[int, int], unit: int) -> list[tuple[int, int]]:
    sums: Counter[int] = Counter()
    for minute, views in counts.items():
        sums[minute // unit] += views
    return sorted(sums.items())


def test_the_clock_moves_and_every_granularity_answers_as_before(installation: Installation) -> None:
    settings, session = installation.settings, installation.session
    counts = {FIRST_MINUTE + minute: minute % 13 + 1 for minute in range(-90, 26 * 60, 7)}
    shards = settings.counting.shards
    # What the stream and the rollup wrote in time.
    writer = CountWriter(session, settings.cassandra, "view_counts", shards)
    writer.counts(b"".join(dated_row(Cell(VIDEO.encode(), b"view", at, views)) for at, views in counts.items()))

    def table(views: int) -> pa.Table:
        return pa.table({"video_id": [VIDEO], "kind": ["view"], "views": [views], "late_added": [0]})

    with contextlib.closing(HistoryRows(settings.cassandra, token=1_000_000)) as rolled:
        for hour, views in summed(counts, 60):
            rolled.hours(table(views), datetime.fromtimestamp(hour * 3600, UTC))
        for day, views in summed(counts, 1440):
            rolled.days(table(views), date_of(day), datetime.fromtimestamp((day + 1) * 86_400, UTC))
    now = START + 2 * DAY
    store = HistoryStore(filesystem(settings.s3), settings.history.path)
    manifest = write_history(
        store,
        {(VIDEO, "view", at): views for at, views in counts.items()},
        shards=shards,
        from_hour=FIRST_MINUTE // 60 - 24,
        # As rollups will have left it by then.
        through_hour=int((now + 900 * DAY).timestamp()) // 3600,
    )
    put_register(session, settings.history.path, applied_of(put_manifest(store, manifest), manifest))
    moved = timedelta()

    async def answers(client: httpx2.AsyncClient) -> dict[str, Any]:
        found = {name: await ask(client, name) for name in QUESTIONS}
        assert {answer.status_code for answer in found.values()} == {200}, {n: a.text for n, a in found.items()}
        return {name: answer.json()["points"] for name, answer in found.items()}

    async def ask_again_and_again() -> None:
        nonlocal moved
        async with serving(settings, lambda: now + moved) as client:
            fresh = await answers(client)
            check(fresh, counts)
            # What Cassandra does by itself, later.
            session.execute("TRUNCATE views_by_minute")
            moved = 10 * DAY
            assert await answers(client) == fresh
            session.execute("TRUNCATE views_by_hour")
            moved = 200 * DAY
            assert await answers(client) == fresh
            moved = 800 * DAY
            assert await answers(client) == fresh
        # Days are there without the object store, and what is not is no 0.
        closed = S3Settings(endpoint=f"http://{HOST}:9", access_key="a", secret_key="b")
        async with serving(settings.model_copy(update={"s3": closed}), lambda: now + moved) as client:
            assert (await ask(client, "day")).json()["points"] == fresh["day"]
            away = await ask(client, "hour")
            assert (away.status_code, away.headers["retry-after"]) == (503, "1")
            assert "the object store does not answer" in away.json()["error"]
            # The table still has minutes of today: points that need Parquet are null, and it is said why.
            partly = await client.get(f"/v1/videos/{quote(VIDEO)}/series", params=over_the_edge(now + moved))
            found = partly.json()
            assert [point["views"] for point in found["points"]] == [None] * 24 + [0] * 24
            assert ([one["what"] for one in found["degraded"]], found["points"][0]["complete"]) == (["history"], False)

    asyncio.run(asyncio.wait_for(ask_again_and_again(), 120))


def over_the_edge(now: datetime) -> dict[str, str]:
    """A day of hours that only Parquet has, and one of hours that the table has."""
    edge = now.replace(minute=0) - 99 * DAY
    return {"granularity": "hour", "from": (edge - DAY).isoformat(), "to": (edge + DAY).isoformat()}


def check(fresh: dict[str, Any], counts: dict[int, int]) -> None:
    """Each point is the sum of its minutes."""
    assert [point["views"] for point in fresh["minute"]] == [counts.get(FIRST_MINUTE + at, 0) for at in range(1440)]
    by_hour = dict(summed(counts, 60))
    assert [point["views"] for point in fresh["hour"]] == [
        by_hour.get(FIRST_MINUTE // 60 + at, 0) for at in range(-24, 48)
    ]
    by_day = dict(summed(counts, 1440))
    assert [point["views"] for point in fresh["day"]] == [
        by_day.get(FIRST_MINUTE // 1440 + at, 0) for at in range(-1, 2)
    ]
    # Minutes of the 25th, UTC, between which the local day lies.
    for zone, start, first, end in (
        ("Berlin", "2026-10-25T00:00:00+02:00", -120, 23 * 60),
        ("Kathmandu", "2026-10-25T00:00:00+05:45", -345, 18 * 60 + 15),
    ):
        views = sum(views for at, views in counts.items() if first <= at - FIRST_MINUTE < end)
        first_day = fresh[zone][0]
        assert (first_day["start"], first_day["views"], first_day["complete"]) == (start, views, False)


def test_the_tables_keep_what_settings_say_and_drop_it_by_the_window(installation: Installation) -> None:
    query = QuerySettings()
    assert {"views_by_minute": query.minutes_kept_days, "views_by_hour": query.hours_kept_days} == KEPT_DAYS
    tables = {
        row.table_name: row
        for row in installation.session.execute(
            "SELECT table_name, default_time_to_live, compaction FROM system_schema.tables WHERE keyspace_name = %s",
            (installation.settings.cassandra.keyspace,),
        )
    }
    for name, days in KEPT_DAYS.items():
        assert tables[name].default_time_to_live == days * 86_400
        assert tables[name].compaction["class"].endswith("TimeWindowCompactionStrategy")
        window = int(tables[name].compaction["compaction_window_size"])
        assert tables[name].compaction["compaction_window_unit"] == "DAYS"
        # Some ten windows: what has expired is dropped as whole files.
        assert days / 15 <= window <= days / 5
    for name in ("views_by_day", "view_totals"):
        assert tables[name].default_time_to_live == 0
