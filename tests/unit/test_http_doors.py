"""What both services answer before they ask any store: slashes, names in paths, parameters, connections. No server."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ingest import app as ingest_app
from services.leaving import LEAVING
from services.query import app as query_app
from settings import Settings

LOCAL = "http://localhost"


@pytest.fixture(scope="module")
def asked() -> TestClient:
    return TestClient(query_app.build_service(Settings()).public, base_url=LOCAL, follow_redirects=False)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/videos/A/views?kinds=view", "kinds"),
        ("/v1/videos/A/series?granularity=hour&start=2026-01-01T00:00:00Z", "start"),
        ("/v1/videos/A/history?date=2026-01-01", "date"),
        ("/v1/channels/A/series?zone=UTC", "zone"),
        ("/v1/top?n=3", "n"),
        ("/v1/ledger?at=2026-01-01T00:00:00Z", "at"),
        ("/v1/videos/A/series?granularity=day&zone=localtime", "zone"),
        ("/v1/videos/A/series?granularity=day&zone=Factory", "zone"),
        ("/v1/top?limit=007", "limit"),
        ("/v1/videos/A/history?day=2026-W05-6", "day"),
    ],
)
def test_a_parameter_that_is_not_known_is_named(asked: TestClient, path: str, field: str) -> None:
    answer = asked.get(path)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("name", ["a%0Ab", "%0A", "a%0D%0Ab%0A", "a%2Fb%0Ac", "a%E2%80%A8b"])
def test_a_name_may_have_a_line_break(asked: TestClient, name: str) -> None:
    answer = asked.get(f"/v1/videos/{name}/views?kind=")
    # Its kind is what is wrong with it: the video was found in the path.
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "kind")


def test_nobody_is_sent_to_another_address_for_a_slash(asked: TestClient) -> None:
    assert asked.get("/v1/top/").status_code == 404
    client = TestClient(ingest_app.build_service(Settings()).public, base_url=LOCAL, follow_redirects=False)
    assert client.post("/v1/events/").status_code == 415
    private = TestClient(ingest_app.build_service(Settings()).private, follow_redirects=False)
    assert private.get("/v1/tally/").status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/v1/tally"])
def test_what_operators_ask_is_on_the_private_port_alone(path: str) -> None:
    service = ingest_app.build_service(Settings())
    assert TestClient(service.public).get(path).status_code == 404
    assert TestClient(service.private).get(path).status_code == 200
    assert TestClient(query_app.build_service(Settings()).public).get(path).status_code == 404


@pytest.mark.parametrize("app", [ingest_app, query_app])
def test_a_leaving_process_says_so_to_its_balancer(app: Any) -> None:
    service = app.build_service(Settings())
    service.life.is_leaving = True
    for one in (service.public, service.private):
        answer = TestClient(one).get("/readyz")
        assert (answer.status_code, LEAVING in answer.text) == (503, True)
