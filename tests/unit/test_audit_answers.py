"""What audits have found, as the query service answers it: the newest verdict counts, and no repair is forgotten."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from services.query import app as query_app
from services.query.counts.audits import findings_by_what, verdicts_by_hour
from settings import Settings
from tests.support.full_tables import NOW, empty_history, finding, full, verdict

NOON = datetime(2026, 3, 20, 12)
HOUR = timedelta(hours=1)
START = NOON.replace(tzinfo=UTC)


def test_the_newest_verdict_on_an_hour_counts_and_what_all_audits_corrected() -> None:
    rows = [
        verdict(NOON, NOON + 5 * HOUR, wrong=0),
        verdict(NOON, NOON + 3 * HOUR, wrong=4, repaired=4),
        verdict(NOON + HOUR, NOON + 3 * HOUR, wrong=1),
        verdict(NOON - HOUR, NOON + 3 * HOUR),
        verdict(NOON + 2 * HOUR, NOON + 3 * HOUR),
    ]
    first, second = verdicts_by_hour(rows, START, START + 2 * HOUR)
    assert (first.start, first.audited_at, first.wrong) == (START, START + 5 * HOUR, 0)
    assert (first.audits, first.corrected) == (2, 4)
    assert (second.start, second.wrong, second.audits, second.corrected) == (START + HOUR, 1, 1, 0)


def test_findings_say_where_it_was_wrong_last_also_when_it_is_right_now() -> None:
    place = NOON - 3 * HOUR, 2
    rows = [
        finding("ledger", NOON + HOUR),
        finding("ledger", NOON, wrong=3, places=[place]),
        finding("ledger", NOON - HOUR, wrong=9),
        finding("view_totals", NOON),
    ]
    ledger, totals = findings_by_what(rows, START, START + 2 * HOUR)
    assert (ledger.what, ledger.wrong, ledger.audits, ledger.wrong_audits, ledger.corrected) == ("ledger", 0, 2, 1, 3)
    assert ledger.places == [(place[0].replace(tzinfo=UTC), 2)]
    assert (totals.what, totals.places) == ("view_totals", [])


@pytest.fixture
def query(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    tables = full(empty_history(tmp_path_factory.mktemp("history")))
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    return query_app.build_service(Settings(), lambda: NOW).public


def get(app: Starlette, url: str) -> httpx2.Response:
    async def one() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(url)

    return asyncio.run(one())


def test_an_answer_sums_the_hours_that_it_shows(query: Starlette) -> None:
    found = get(query, "/v1/audits").json()
    assert [hour["start"] for hour in found["hours"]] == ["2026-03-20T12:00:00Z"]
    assert found["total"] == {"compared": 10, "equal": 8, "late": 1, "late_added": 2, "wrong": 1, "corrected": 1}
    assert found["findings"][0]["places"] == [{"at": "2026-03-20T12:00:00Z", "shard": 3}]
    assert get(query, "/v1/audits?to=2026-03-20T12:00:00Z").json()["hours"] == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ("from=2026-01-01T00:00:00Z&to=2026-02-02T00:00:00Z", "from"),
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("limit=100000", "limit"),
    ],
)
def test_a_range_has_bounds(query: Starlette, parameters: str, field: str) -> None:
    answer = get(query, f"/v1/audits?{parameters}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
