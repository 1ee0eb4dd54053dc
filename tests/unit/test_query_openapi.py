"""The descriptions of both services name every route that they have, and no other."""

import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from services.docs_page import docs_page
from services.ingest import app as ingest
from services.ingest import routes as ingest_routes
from services.query import app as query
from services.query.api.operations import description as query_description
from settings import Settings

# What describes the service, and what browsers load from it.
SELF = {"/openapi.json", "/docs", "/vc.js", "/vc.1.js", "/try", "/embed.js"}


@pytest.mark.parametrize(
    ("app", "description"),
    [
        (ingest.build_service(Settings()).public, ingest_routes.OPENAPI),
        (ingest.build_service(Settings()).private, ingest_routes.PRIVATE_OPENAPI),
        (query.build_service(Settings()).public, query_description.OPENAPI),
        (query.build_service(Settings()).private, query_description.PRIVATE_OPENAPI),
    ],
)
def test_every_route_is_described(app: Starlette, description: dict[str, Any]) -> None:
    routes = [route.path for route in app.routes if isinstance(route, Route)]
    # Without its convertor, and without the slash that some clients add.
    paths = {re.sub(r":[a-z]+\}", "}", path).rstrip("/") for path in routes}
    assert paths - SELF == set(description["paths"])


def schemas_of(path: str) -> list[dict[str, Any]]:
    """Those of which the answer is one."""
    answer = query_description.OPENAPI["paths"][f"/v1/{path}"]["get"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("anyOf", [schema])]
    return [query_description.OPENAPI["components"]["schemas"][name] for name in names]


def test_answers_of_history_say_which_and_what_is_missing() -> None:
    of_history = {"late_through", "history_revision", "missing"}
    for path in ("videos/{video_id}/views", "videos/{video_id}/series", "channels/{channel_id}/series"):
        # Of one kind, and of several.
        for schema in schemas_of(path):
            assert of_history <= set(schema["required"])
    # Lists of closed hours and days say so, those of the stream do not.
    stream, closed = schemas_of("top")
    assert not of_history & set(stream["properties"])
    assert of_history <= set(closed["required"])


def test_the_page_escapes_and_asks_nobody_else() -> None:
    page = docs_page(query_description.OPENAPI)
    assert "/v1/videos/{video_id}/views" in page
    assert "http" not in page.replace("HTTP", "")
