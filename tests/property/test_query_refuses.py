"""Whatever strangers put into an address, query answers without failing, and a bad parameter is named. No server.

`make fuzz` asks everything of the description at random, for as long as it is given. This test knows of each parameter
what is bad, so that it also finds what is taken and should not be.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from services.openapi import Operation, Parameter
from services.problems import PROBLEM
from services.query import app as query_app
from services.query.api.operations.audience import BREAKDOWN, VIEWERS
from services.query.api.operations.audits import AUDITS
from services.query.api.operations.badge import BADGE
from services.query.api.operations.channels import CHANNEL
from services.query.api.operations.ledger import LEDGER
from services.query.api.operations.live import LIVE_TOP, LIVE_VIEWS
from services.query.api.operations.search import SEARCH
from services.query.api.operations.top import TOP
from services.query.api.operations.videos import HISTORY, SERIES, VIEWS
from settings import Settings
from tests.support.followed import Followed
from tests.support.full_tables import NOW, empty_history, full

OPERATIONS: list[Operation[Any]] = [
    VIEWS, SERIES, HISTORY, CHANNEL, TOP, LEDGER, AUDITS, BREAKDOWN, VIEWERS, SEARCH, BADGE, LIVE_VIEWS, LIVE_TOP,
]  # fmt: skip
RUNS = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
TIMES = ["from", "to", "at"]
BAD_TIMES = [
    "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "-1", "0", "1.5",
    "9" * 40, "1999-12-31T23:59:59Z", "2100-01-01T00:00:00.001Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "2026-W01-4T12Z", "20260101T120000Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+99:00", "\u0661", "now", " ",
    "null",
]  # fmt: skip
BAD = {
    **dict.fromkeys(TIMES, BAD_TIMES),
    "day": ["2026-02-30", "2026-1-1", "20260101", "2026-W05-6", "1999-12-31", "2100-01-02", "2026-01-01T00:00:00Z"],
    "zone": ["Mars/Olympus", "localtime", "../etc/passwd", "/etc/localtime", "Europe/Berlin\0", "+01:00"],
    "limit": ["0", "-1", "101x", "007", "1e1", "1_0", "\uff19", " 1", "99999999999999999999"],
    "events": ["0", "-1", "1.0", "999999999999"],
    "country": ["D", "DEU", "D1", "é"],
    "kind": ["x" * 60, "é" * 30],
    "q": ["x" * 5000],
}  # fmt: skip
PATH_VALUES = {"video_id": "A", "channel_id": "c-1"}


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starlette]:
    history = empty_history(Path(tmp_path_factory.mktemp("history")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_app, "CountStore", lambda *_: full(history))
        patch.setattr(query_app, "Following", Followed)
        yield query_app.build_service(Settings(), lambda: NOW).public


def ask(app: Starlette, target: str) -> httpx2.Response:
    async def one() -> httpx2.Response:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(target)

    return asyncio.run(one())


def path_of(operation: Operation[Any]) -> str:
    return operation.path.format(**PATH_VALUES)


def required(operation: Operation[Any]) -> dict[str, str]:
    good = {"day": "2026-01-31", "by": "country", "q": "a", "events": "1"}
    return {one: good[one] for one in operation.query_names if one in ("day", "by", "q", "events")}


def with_parameters(operation: Operation[Any], more: dict[str, str]) -> str:
    found = {**required(operation), **more}
    return f"{path_of(operation)}?{'&'.join(f'{name}={quote(value)}' for name, value in found.items())}"


CASES: list[tuple[Operation[Any], str, str]] = [
    (operation, name, value)
    for operation in OPERATIONS
    for name in operation.query_names
    for value in BAD.get(name, ())
]


def check_refused(answer: httpx2.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.path)
def test_what_is_bad_is_named(query: Starlette, operation: Operation[Any]) -> None:
    for one, name, value in CASES:
        if one is operation:
            more = {"granularity": "day"} if name == "zone" else {"span": "day"} if name == "country" else {}
            check_refused(ask(query, with_parameters(operation, {**more, name: value})), name)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.path)
def test_what_is_no_choice_empty_doubled_or_not_known_is_named(query: Starlette, operation: Operation[Any]) -> None:
    for parameter in operation.parameters:
        if not parameter.in_path and not parameter.in_header:
            _check_one(query, operation, parameter)
    check_refused(ask(query, with_parameters(operation, {"no such": "1"})), "no such")


def _check_one(query: Starlette, operation: Operation[Any], parameter: Parameter) -> None:
    name = parameter.name
    check_refused(ask(query, with_parameters(operation, {name: ""})), name)
    if "enum" in parameter.schema:
        check_refused(ask(query, with_parameters(operation, {name: "no such"})), name)
    if not parameter.is_repeated:
        check_refused(ask(query, f"{path_of(operation)}?{name}=a&{name}=b"), name)
    check_refused(ask(query, f"{path_of(operation)}?{name}=%ff"), name)


RANGES = [one for one in OPERATIONS if {"from", "to"} <= set(one.query_names)]


@pytest.mark.parametrize("operation", RANGES, ids=lambda one: one.path)
def test_a_reversed_range_is_named_and_a_far_past_or_an_enormous_one_is_exact(
    query: Starlette, operation: Operation[Any]
) -> None:
    reversed_range = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    check_refused(ask(query, with_parameters(operation, reversed_range)), "from")
    enormous = ask(query, with_parameters(operation, {"from": "2000-01-01T00:00:00Z", "to": "2099-12-31T00:00:00Z"}))
    assert enormous.status_code in (200, 422)
    if enormous.status_code == 422:
        check_refused(enormous, "from")


NAMES = st.binary(min_size=0, max_size=80)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.path)
@RUNS
@given(data=st.data())
def test_nothing_that_is_asked_makes_it_fail(query: Starlette, operation: Operation[Any], data: st.DataObject) -> None:
    path = operation.path
    for name in PATH_VALUES:
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote_from_bytes(data.draw(NAMES), safe=""))
    # A stream would not end by itself.
    names = [name for name in operation.query_names if name != "events"]
    value = st.one_of(NAMES, st.sampled_from([one.encode() for values in BAD.values() for one in values]))
    pairs = data.draw(st.lists(st.tuples(st.one_of(st.sampled_from(names or ["x"]), st.just("x")), value), max_size=4))
    parts = [f"{name}={quote_from_bytes(one, safe='')}" for name, one in pairs]
    if "events" in operation.query_names:
        parts.append("events=1")
    answer = ask(query, f"{path}?{'&'.join(parts)}")
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == PROBLEM
        assert answer.status_code != 422 or answer.json()["errors"]
