"""Imported views in answers: in totals and days of UTC, shown apart, and left out of everything else."""

from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from services.query import app as query_app
from settings import Settings
from tests.support.full_tables import DAY, NOW, empty_history, full, has_imported, said
from tests.support.tables import Tables

OLD = (NOW - 20 * DAY).date()
TODAY = NOW.date()


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = full(empty_history(tmp_path))
    has_imported(made, {("A", "view", None): 100, ("A", "view", OLD): 7, ("A", "like", OLD): 2})
    return made


@pytest.fixture
def client(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    return TestClient(query_app.build_service(Settings(), lambda: NOW).public, base_url="http://localhost")


def test_a_total_contains_what_was_imported_and_says_how_much(client: TestClient, tables: Tables) -> None:
    with_imports = said(client, "/v1/videos/A/views")
    assert with_imports["imported"] == 107
    tables.imported_views = {}
    without = said(client, "/v1/videos/A/views")
    assert (without["imported"], without["views"]) == (0, with_imports["views"] - 107)
    # A video that was never viewed here.
    tables.imported_views = {("old", "view", None): 3}
    found = said(client, "/v1/videos/old/views")
    assert (found["views"], found["imported"]) == (3, 3)


def test_a_day_contains_what_was_imported_with_a_day(client: TestClient) -> None:
    path = f"/v1/videos/A/series?granularity=day&from={OLD}T00:00:00Z&to={TODAY}T23:59:00Z"
    found = said(client, path)
    points = {point["start"][:10]: point for point in found["points"]}
    assert (points[str(OLD)]["views"], points[str(OLD)]["imported"]) == (7, 7)
    assert "imported" not in points[str(TODAY)]
    assert found["imported"] == 7


@pytest.mark.parametrize("granularity", ["week", "month"])
def test_so_do_weeks_and_months_of_utc(client: TestClient, tables: Tables, granularity: str) -> None:
    path = f"/v1/videos/A/series?granularity={granularity}&from={OLD}T00:00:00Z&to={TODAY}T23:59:00Z"
    found = said(client, path)
    assert found["points"][0]["start"] <= f"{OLD}T00:00:00Z" < found["points"][0]["end"]
    assert [point.get("imported") for point in found["points"]] == [7, *[None] * (len(found["points"]) - 1)]
    assert found["imported"] == 7
    tables.imported_views = {}
    assert said(client, path)["points"][0]["views"] == found["points"][0]["views"] - 7


@pytest.mark.parametrize(
    "query",
    [
        "granularity=minute",
        "granularity=hour",
        "granularity=day&zone=Europe/Berlin",
        "granularity=month&zone=Europe/Berlin",
    ],
)
def test_what_leaves_it_out_says_so(client: TestClient, tables: Tables, query: str) -> None:
    tables.imported_views = {("A", "view", TODAY): 5_000_000}
    found = said(client, f"/v1/videos/A/series?{query}")
    assert found["imported"] is None
    assert sum(point["views"] for point in found["points"]) < 5_000_000


def test_nothing_is_read_of_imports_where_there_are_none(client: TestClient, tables: Tables) -> None:
    register = tables._register
    assert register is not None
    assert register.applied is not None
    tables._register = msgspec.structs.replace(register, applied=msgspec.structs.replace(register.applied, imports=0))
    said(client, "/v1/videos/A/views")
    said(client, "/v1/videos/A/series?granularity=day")
    assert not {"imported", "imported_days"} & {*tables.asked}
