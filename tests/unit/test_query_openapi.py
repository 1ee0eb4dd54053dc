"""The descriptions of both services name every route that they have, and no other."""

import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from services.ingest import app as ingest
from services.ingest import openapi as ingest_openapi
from services.openapi import docs_page
from services.query import app as query
from services.query import openapi as query_openapi
from settings import Settings

SELF = {"/openapi.json", "/docs"}


@pytest.mark.parametrize(
    ("app", "description"),
    [
        (ingest.build_app(Settings()), ingest_openapi.OPENAPI),
        (query.build_app(Settings()), query_openapi.OPENAPI),
    ],
)
def test_every_route_is_described(app: Starlette, description: dict[str, Any]) -> None:
    routes = [route.path for route in app.routes if isinstance(route, Route)]
    # Without its convertor, and without the slash that some clients add.
    paths = {re.sub(r":[a-z]+\}", "}", path).rstrip("/") for path in routes}
    assert paths - SELF == set(description["paths"])


def test_answers_of_history_say_which_and_what_is_missing() -> None:
    for path in ("videos/{video_id}/views", "videos/{video_id}/series", "channels/{channel_id}/series"):
        answer = query_openapi.OPENAPI["paths"][f"/v1/{path}"]["get"]["responses"]["200"]
        required = answer["content"]["application/json"]["schema"]["required"]
        assert {"late_through", "history_revision", "missing"} <= set(required)
    top = query_openapi.OPENAPI["paths"]["/v1/top"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"late_through", "history_revision", "missing"} <= set(top["properties"]) - set(top["required"])


def test_the_page_escapes_and_asks_nobody_else() -> None:
    page = docs_page(query_openapi.OPENAPI)
    assert "/v1/videos/{video_id}/views" in page
    assert "http" not in page.replace("HTTP", "")
