"""Each question of the dashboard for Grafana is one that the query service answers, with the fields that a panel shows.

Grafana itself is not here: the test fills in its variables and finds rows and columns as the Infinity plug-in does.
"""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ruamel.yaml import YAML
from starlette.testclient import TestClient

from services.query import app as query_app
from settings import Settings
from tests.support.full_tables import NOW, empty_history, full

BI = Path(__file__).parents[2] / "schemas" / "bi"
DASHBOARD: dict[str, Any] = json.loads((BI / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
OF_GRAFANA = {
    "__from": str(round((NOW - timedelta(hours=3)).timestamp() * 1000)),
    "__to": str(round(NOW.timestamp() * 1000)),
}


def variables() -> dict[str, str]:
    """The values with which the dashboard opens."""
    return {one["name"]: one["current"]["value"] for one in DASHBOARD["templating"]["list"]} | OF_GRAFANA


def filled(text: str, values: dict[str, str]) -> str:
    """A text with the values of its variables. One that there is not is an error."""

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        return quote(found, safe="") if match[2] else found

    return re.sub(r"\$\{(\w+)(:percentencode)?\}", value, text)


def is_of(kind: str, value: Any) -> bool:
    """Whether a panel can show a value as a column of this kind."""
    if value is None:
        return True
    if kind == "number":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "timestamp":
        return datetime.fromisoformat(value).tzinfo is not None
    return isinstance(value, str)


@pytest.fixture
def query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    history = empty_history(tmp_path)
    monkeypatch.setattr(query_app, "CountStore", lambda *_: full(history))
    return TestClient(query_app.build_service(Settings(), lambda: NOW).public, base_url="http://localhost")


@pytest.mark.parametrize("video", ["A", "a/b c?"])
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["id"])
def test_the_service_answers_what_a_panel_asks(query: TestClient, panel: dict[str, Any], video: str) -> None:
    (target,) = panel["targets"]
    values = variables() | {"video": video}
    asked = {one["key"]: filled(one["value"], values) for one in target["url_options"]["params"]}
    answer = query.get(filled(target["url"], values), params=asked)
    assert answer.status_code == 200, answer.text
    root = target["root_selector"]
    rows = answer.json()[root] if root else [answer.json()]
    assert rows
    for row in rows:
        for column in target["columns"]:
            assert is_of(column["type"], row[column["selector"]]), (column, row)


@pytest.mark.parametrize("granularity", DASHBOARD["templating"]["list"][2]["query"].split(","))
def test_every_granularity_that_can_be_chosen_is_one(query: TestClient, granularity: str) -> None:
    answer = query.get("/v1/videos/A/series", params={"granularity": granularity})
    assert answer.status_code == 200, answer.text


def test_panels_ask_the_source_that_is_provisioned_and_its_key_goes_nowhere_else() -> None:
    (source,) = YAML(typ="safe").load((BI / "grafana-datasource.yaml").read_text(encoding="utf-8"))["datasources"]
    for panel in PANELS:
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": source["type"], "uid": source["uid"]}
    assert source["jsonData"]["allowedHosts"] == [source["url"]]
    # Grafana fills in what is in its own environment: no key stands in the file.
    assert source["secureJsonData"] == {"bearerToken": "$VC_QUERY_KEY"}


def test_panels_are_apart_and_have_ids_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
