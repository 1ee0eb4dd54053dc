"""A dry run answers as the real call would, and neither writes nor counts. A misspelt one is refused. No server."""

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from schemas.registry import FOLDER
from services.ingest import app as ingest_app
from services.ingest.schema_texts import schema_names
from settings import Settings

EVENTS = {"events": [{"video_id": "A"}, {"video_id": ""}, {"video_id": "B", "odd": 1}]}


class Writer:
    """Notes what it is given, and acknowledges it."""

    trouble = None
    events_in_flight = 0
    written: list[Any] = []  # noqa: RUF012 - emptied by each test's fixture

    def __init__(self, *_arguments: object, **_named: object) -> None:
        return

    def write(self, packed: Any) -> list[tuple[asyncio.Future[str | None], list[int]]]:
        self.written.append(packed)
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return [(done, [index for indexes in packed.indexes for index in indexes])]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(ingest_app, "EventWriter", Writer)
    monkeypatch.setattr(Writer, "written", [])
    return TestClient(ingest_app.build_app(Settings()))


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    made = [one["index"] for one in answer["event_ids"]]
    return {**answer, "event_ids": made}


def test_a_dry_run_answers_the_same_and_writes_nothing(client: TestClient) -> None:
    dry = client.post("/v1/events?dry_run=true", json=EVENTS)
    assert Writer.written == []
    real = client.post("/v1/events?dry_run=false", json=EVENTS)
    assert len(Writer.written) == 1
    assert dry.status_code == real.status_code == 202
    assert without_ids(dry.json()) == without_ids(real.json())


def test_a_dry_run_of_nothing_usable_is_refused_as_well(client: TestClient) -> None:
    answer = client.post("/v1/events?dry_run=true", json={"events": [{"video_id": ""}]})
    assert (answer.status_code, answer.json()["rejected"][0]["field"]) == (400, "video_id")


@pytest.mark.parametrize(
    "query", ["dryrun=true", "dry_run=1", "dry_run=", "dry_run=true&x=1", "dry_run=true&dry_run=false"]
)
def test_a_parameter_that_is_not_known_writes_nothing(client: TestClient, query: str) -> None:
    answer = client.post(f"/v1/events?{query}", json=EVENTS)
    assert answer.status_code == 422
    assert "dry_run" in answer.json()["error"]
    assert Writer.written == []


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
