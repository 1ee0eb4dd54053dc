"""A dry run answers as the real call would, and neither writes nor counts. A misspelt one is refused. No server."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from schemas.registry import FOLDER
from services.ingest.schema_texts import schema_names
from tests.support.ingest_writer import FakeWriter, ingest_client, installed

EVENTS = {"events": [{"video_id": "A"}, {"video_id": ""}, {"video_id": "B", "odd": 1}]}


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    return installed(monkeypatch)


@pytest.fixture
def client(writer: FakeWriter) -> TestClient:
    return ingest_client()


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    made = [one["index"] for one in answer["event_ids"]]
    return {**answer, "event_ids": made}


def test_a_dry_run_answers_the_same_and_writes_nothing(client: TestClient, writer: FakeWriter) -> None:
    dry = client.post("/v1/events?dry_run=true", json=EVENTS)
    assert writer.written == []
    real = client.post("/v1/events?dry_run=false", json=EVENTS)
    assert len(writer.written) == 1
    assert dry.status_code == real.status_code == 202
    assert without_ids(dry.json()) == without_ids(real.json())


def test_a_dry_run_of_nothing_usable_is_refused_as_well(client: TestClient) -> None:
    answer = client.post("/v1/events?dry_run=true", json={"events": [{"video_id": ""}]})
    assert (answer.status_code, answer.json()["rejected"][0]["field"]) == (400, "video_id")


@pytest.mark.parametrize(
    "query", ["dryrun=true", "dry_run=1", "dry_run=", "dry_run=true&x=1", "dry_run=true&dry_run=false"]
)
def test_a_parameter_that_is_not_known_writes_nothing(client: TestClient, writer: FakeWriter, query: str) -> None:
    answer = client.post(f"/v1/events?{query}", json=EVENTS)
    assert answer.status_code == 422
    assert "dry_run" in answer.json()["error"]
    assert writer.written == []


def test_each_schema_is_answered_as_its_file_says(client: TestClient) -> None:
    for name in schema_names():
        answer = client.get(f"/v1/schemas/{name}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.text == (FOLDER / f"{name}.avsc").read_text()
    newest = max(name for name in schema_names() if name.startswith("ViewEvent.v"))
    assert client.get("/v1/schemas/ViewEvent").json() == client.get(f"/v1/schemas/{newest}").json()
    missing = client.get("/v1/schemas/..%2Fview")
    assert missing.status_code == 404
    assert "ViewEvent.v1" in client.get("/v1/schemas/View").json()["error"]
