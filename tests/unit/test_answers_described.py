"""Real answers of both services are as their descriptions say: every path, every status, every field. No server.

The applications are the real ones, over doubles of Cassandra, history and Kafka. An answer may have no field that the
description lacks, and the description has no field that no answer here has.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from starlette.applications import Starlette

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from schemas.ledger import LEDGER_COLUMNS
from services.access.operators import KEYS
from services.ingest import app as ingest_app
from services.ingest import routes as ingest_routes
from services.ingest.recent import endpoint as recent_endpoint
from services.limits.buckets import Amount
from services.openapi import HEALTHZ, JSON, Operation
from services.problems import PROBLEM
from services.query import app as query_app
from services.query.api import answering
from services.query.api.answers import ledger as answers
from services.query.api.answers.about import FromStores
from services.query.api.endpoints.videos import Videos
from services.query.api.live.event_stream import MEDIA
from services.query.api.operations.audience import BREAKDOWN, VIEWERS
from services.query.api.operations.audits import AUDITS
from services.query.api.operations.badge import BADGE
from services.query.api.operations.batch import BATCH
from services.query.api.operations.channels import CHANNEL, CHANNEL_VIEWS
from services.query.api.operations.description import OPENAPI, PRIVATE_OPENAPI
from services.query.api.operations.health import READYZ
from services.query.api.operations.ledger import LEDGER
from services.query.api.operations.live import LIVE_TOP, LIVE_VIEWS
from services.query.api.operations.search import SEARCH
from services.query.api.operations.top import TOP
from services.query.api.operations.videos import HISTORY, SERIES, VIEWS
from services.query.api.parameters.batch import BODY_BYTES_MAX as BATCH_BYTES_MAX
from services.query.counts.cold import History, TooManyFilesError
from services.query.counts.completeness import HistoryAwayError
from services.query.counts.session import StoreAwayError
from services.query.counts.store import CountStore
from services.query.titles.following import Following
from services.server import Service
from settings import AccessSettings, IngestSettings, OverflowSettings, QuerySettings, Settings
from tests.support.followed import Followed
from tests.support.full_tables import DAY, HOUR, NOW, empty_history, full
from tests.support.ingest_writer import FakeWriter
from tests.support.keys import load_keys
from tests.support.tables import Tables
from udfs.logic.overflow.object_name import Destination, ObjectName
from udfs.logic.overflow.waiting import Listing

BODY_BYTES_MAX = 4096
OVERFLOW = OverflowSettings(path="s3://bucket/overflow", object_ms=10)
SMALL = IngestSettings(body_bytes_max=BODY_BYTES_MAX, body_timeout_s=0.1)
FORMATS = FormatChecker()


@FORMATS.checks("date-time", raises=ValueError)  # type: ignore[untyped-decorator]
def _is_time(text: object) -> bool:
    return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None


# --- what answers are held against


class Described:
    """Validates answers by a description, and notes which of its paths, statuses and fields they have had."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.statuses: set[tuple[str, str]] = set()
        self.fields: set[tuple[str, str]] = set()
        # Strict: the description itself lets clients live with fields of a later version.
        self.schemas = {
            name: {**schema, "additionalProperties": False}
            for name, schema in description["components"]["schemas"].items()
        }

    def hold(self, path: str, answer: httpx2.Response) -> None:
        """The answer of a path, as the description names it."""
        (operation,) = self.description["paths"][path].values()
        said = operation["responses"][str(answer.status_code)]
        self.statuses.add((path, str(answer.status_code)))
        assert ("retry-after" in answer.headers) == ("Retry-After" in said.get("headers", {}))
        assert ("view-counts-status" in answer.headers) == ("View-Counts-Status" in said.get("headers", {}))
        assert ("view-counts-audit" in answer.headers) == ("View-Counts-Audit" in said.get("headers", {}))
        if "ratelimit" in answer.headers:
            assert {"RateLimit", "RateLimit-Policy"} <= set(said["headers"])
        if "content" not in said:
            assert (answer.content, "content-type" in answer.headers) == (b"", False)
            return
        media = answer.headers["content-type"].partition(";")[0]
        content = said["content"][media]
        if media in (JSON, PROBLEM):
            self._validate(content["schema"], answer.json())
        if media == MEDIA:
            for line in answer.text.splitlines():
                if line.startswith("data: "):
                    self._validate(content["schema"], json.loads(line.removeprefix("data: ")))

    def fields_of(self, names: set[str]) -> set[tuple[str, str]]:
        """All fields of these schemas."""
        return {(name, field) for name in names for field in self.schemas[name]["properties"]}

    def _validate(self, schema: dict[str, Any], value: Any) -> None:
        whole = {**schema, "components": {"schemas": self.schemas}}
        Draft202012Validator(whole, format_checker=FORMATS).validate(value)
        self._note(schema, value)

    def _note(self, schema: dict[str, Any], value: Any) -> None:
        for option in schema.get("anyOf", ()):
            whole = {**option, "components": {"schemas": self.schemas}}
            if Draft202012Validator(whole).is_valid(value):
                self._note(option, value)
        if "items" in schema:
            for one in value:
                self._note(schema["items"], one)
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            for field, of in value.items():
                self.fields.add((name, field))
                self._note(self.schemas[name]["properties"][field], of)


def all_statuses(description: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (path, status)
        for path, methods in description["paths"].items()
        for operation in methods.values()
        for status in operation["responses"]
    }


def ask(app: Starlette, method: str, url: str, **request: Any) -> httpx2.Response:
    async def one() -> httpx2.Response:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, url, **request)

    return asyncio.run(one())


def hold_keys(described: Described, build: Callable[[Settings], Service], folder: Path) -> None:
    """Ask for every answer of the operation that tells a process of a key."""
    admin, admin_text = new_key("admin", "acme")
    other, other_text = new_key("write", "acme")
    change_keys(folder / "keys.json", lambda _keys: (admin, other))
    service = build(Settings(access=AccessSettings(mode="keys", keys_file=str(folder / "keys.json"))))
    load_keys(service)
    open_service = build(Settings())
    for app, text, content, status in (
        (service.private, admin_text, {"withdrawn_at": None}, 200),
        (service.private, admin_text, {"x": 1}, 400),
        (service.private, "", {}, 401),
        (service.private, other_text, {}, 403),
        (open_service.private, "", {}, 403),
    ):
        answer = ask(app, "POST", f"/v1/keys/{other.id}", json=content, headers={"Authorization": f"Bearer {text}"})
        assert answer.status_code == status
        described.hold(KEYS.path, answer)


# --- query


QUESTIONS: list[tuple[Operation[Any], str]] = [
    (VIEWS, "/v1/videos/A/views"),
    (VIEWS, "/v1/videos/A/views?kind=view&kind=like"),
    (VIEWS, "/v1/videos/A/views?kind=*"),
    (SERIES, "/v1/videos/A/series"),
    (SERIES, "/v1/videos/A/series?granularity=hour&from=2026-03-20T09:00:00Z"),
    (SERIES, "/v1/videos/A/series?granularity=day"),
    (SERIES, "/v1/videos/A/series?granularity=day&zone=Asia/Kathmandu&from=2026-03-19T12:00:00Z"),
    (SERIES, "/v1/videos/A/series?granularity=hour&zone=Asia/Kathmandu"),
    (SERIES, "/v1/videos/A/series?granularity=week&week_start=sunday"),
    (SERIES, "/v1/videos/A/series?granularity=day&kind=*"),
    (SERIES, "/v1/videos/A/series?kind=like&kind=view"),
    (SERIES, "/v1/videos/A/series?granularity=month&zone=Europe/Berlin"),
    (SERIES, "/v1/videos/A/series?from=2026-03-20T09:00:00Z&to=2026-03-20T09:00:00Z"),
    (HISTORY, "/v1/videos/A/history?day=2026-03-19"),
    (BREAKDOWN, "/v1/videos/A/breakdown?by=country"),
    (VIEWERS, "/v1/videos/A/viewers"),
    (CHANNEL, "/v1/channels/c-1/series"),
    (CHANNEL_VIEWS, "/v1/channels/c-1"),
    (LIVE_VIEWS, "/v1/videos/A/live?events=1"),
    (BADGE, "/v1/videos/A/badge.svg"),
    (LIVE_TOP, "/v1/top/live?events=1"),
    (LIVE_TOP, "/v1/top/live?events=1&span=trending"),
    (TOP, "/v1/top"),
    (TOP, "/v1/top?span=trending&limit=1"),
    (TOP, "/v1/top?span=minute&kind=nobody&at=2026-03-01T00:00:00Z"),
    (TOP, "/v1/top?span=clock_hour"),
    (TOP, "/v1/top?span=day&country=de"),
    (TOP, "/v1/top?span=day&channel=c-1&limit=1"),
    (LEDGER, "/v1/ledger"),
    (AUDITS, "/v1/audits"),
    (SEARCH, "/v1/search?q=au"),
    (HEALTHZ, "/healthz"),
    (READYZ, "/readyz"),
]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return empty_history(tmp_path)


@pytest.fixture
def service(history: History, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: full(history))
    monkeypatch.setattr(query_app, "Following", Followed)
    return query_app.build_service(Settings(), lambda: NOW)


@pytest.fixture
def query(service: Service) -> Starlette:
    return service.public


class Watch:
    """One that has listed an object of three events."""

    def __init__(self, *_: object) -> None:
        made_ms = int(NOW.timestamp() * 1000)
        self.listing = Listing(made_ms, [ObjectName(made_ms, "i", 1, Destination.EVENTS, 0, 0, 3)])


def stream_that_breaks(history: History) -> httpx2.Response:
    """A stream whose tables can be read once. Then the process leaves."""
    tables = full(history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_app, "CountStore", lambda *_: tables)
        leaving = query_app.build_service(Settings(), lambda: NOW)
        calls = []
        read = Videos.total

        async def once(*arguments: Any) -> Any:
            calls.append(arguments)
            # It has been said at the third reading that the second one has failed.
            leaving.life.is_leaving = len(calls) > 2
            if len(calls) > 1:
                raise StoreAwayError("away")
            return await read(*arguments)

        patch.setattr(Videos, "total", once)
        answer = ask(leaving.public, "GET", "/v1/videos/A/live")
    names = [line for line in answer.text.splitlines() if line.startswith("event")]
    assert names == ["event: views", "event: away", "event: end"]
    return answer


def test_answers_of_query_are_as_described(query: Starlette, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    described = Described(OPENAPI)
    monkeypatch.setattr(answering, "BODY_TIMEOUT_S", 0.1)
    away = unconnected().public
    with_keys = query_app.build_service(Settings(access=AccessSettings(mode="keys"))).public
    for operation, url in QUESTIONS:
        if operation is not HEALTHZ and operation is not READYZ:
            # The first may owe what it needs.
            limited = query_app.build_service(Settings(query=QuerySettings(questions_per_s=0.001)), lambda: NOW).public
            ask(limited, "GET", url)
            often = ask(limited, "GET", url)
            assert often.status_code == 429
            described.hold(operation.path, often)
        answer = ask(query, "GET", url)
        assert answer.status_code == 200, answer.text
        described.hold(operation.path, answer)
        if operation.rows is not None:
            known = ask(query, "GET", url, headers={"If-None-Match": answer.headers["etag"]})
            assert known.status_code == 304
            described.hold(operation.path, known)
            described.hold(operation.path, ask(query, "GET", url, headers={"Accept": "text/csv"}))
        if operation is not HEALTHZ:
            described.hold(operation.path, ask(away, "GET", url))
        if operation is not HEALTHZ and operation is not READYZ:
            described.hold(operation.path, ask(query, "GET", url, headers={"Origin": "null"}))
            described.hold(operation.path, ask(with_keys, "GET", url))
            described.hold(operation.path, ask(query, "GET", f"{url.partition('?')[0]}?key=vc_read_x"))
        if operation.parameters:
            described.hold(operation.path, ask(query, "GET", f"{url.partition('?')[0]}?no_such_parameter=1"))
    limited = query_app.build_service(Settings(query=QuerySettings(questions_per_s=0.001)), lambda: NOW).public
    hold_batches(described, query, away, with_keys, limited)
    described.hold(
        LIVE_VIEWS.path, ask(query, "GET", "/v1/videos/A/live?events=1", headers={"Last-Event-ID": "6-9999"})
    )
    described.hold(LIVE_VIEWS.path, stream_that_breaks(history))
    monkeypatch.setattr(query_app, "OverflowWatch", Watch)
    watching = query_app.build_service(Settings(overflow=OVERFLOW), lambda: NOW).public
    answer = ask(watching, "GET", "/v1/videos/A/views")
    assert answer.json()["waiting"] == {"events": 3, "since": "2026-03-20T15:30:00Z"}
    described.hold(VIEWS.path, answer)
    hold_old_answers(described, history)
    assert described.statuses == all_statuses(OPENAPI)
    # A stream tells of a store that does not answer by an event of its own.
    of_streams = {(name, field) for name in ("LiveViews", "LiveTop") for field in ("degraded", "as_of")}
    assert described.fields == described.fields_of(set(described.schemas) - {"BatchBody"}) - of_streams


def hold_old_answers(described: Described, history: History) -> None:
    """Ask for every answer anew when Cassandra does not answer, and for a series when the object store does not."""
    tables = full(history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_app, "CountStore", lambda *_: tables)
        app = query_app.build_service(Settings(), lambda: NOW).public

        async def no_file(*arguments: Any) -> list[Any]:
            if arguments[-1]:
                raise HistoryAwayError("the object store does not answer", (NOW - 99 * DAY, NOW - 7 * DAY))
            return []

        old = {"granularity": "minute", "from": "2026-03-10T00:00:00Z", "to": "2026-03-20T00:00:00Z"}
        with pytest.MonkeyPatch.context() as away:
            away.setattr(tables._history, "rows", no_file)
            partly = ask(app, "GET", "/v1/videos/A/series", params=old)
        described.hold(SERIES.path, partly)
        assert partly.json()["points"][0]["views"] is None
        assert partly.headers["view-counts-degraded"] == "history"

        def nothing(*_values: object) -> Any:
            raise StoreAwayError("Cassandra does not answer")

        of_stores = [
            (one, url)
            for one, url in QUESTIONS
            if "View-Counts-Age" in one.answer.headers and issubclass(one.answer.shapes[0], FromStores)
        ]
        whole = {url: ask(app, "GET", url).json() for _, url in of_stores}
        batch = ask(app, "POST", BATCH.path, json={"video_ids": ["A"]}).json()
        patch.setattr(tables, "rows", nothing)
        for operation, url in of_stores:
            answer = ask(app, "GET", url)
            described.hold(operation.path, answer)
            assert (answer.headers["view-counts-age"], answer.headers["view-counts-degraded"]) == ("0", "answer")
            degraded = [{"what": "answer", "reason": "Cassandra does not answer"}]
            assert answer.json() == whole[url] | {"degraded": degraded, "as_of": "2026-03-20T15:30:00Z"}
        again = ask(app, "POST", BATCH.path, json={"video_ids": ["A"]})
        described.hold(BATCH.path, again)
        assert again.json() == batch | {"degraded": degraded, "as_of": "2026-03-20T15:30:00Z"}
        assert ask(app, "GET", "/v1/videos/B/views").status_code == 503


def hold_batches(
    described: Described, query: Starlette, away: Starlette, with_keys: Starlette, limited: Starlette
) -> None:
    """Ask for every answer of the operation that has a body."""
    (of_body,) = BATCH.bodies
    json_type = {"Content-Type": JSON}
    example = {"content": json.dumps(of_body.example), "headers": json_type}
    for app, status, request in (
        (query, 200, example),
        (query, 200, {"content": '{"video_ids": ["A"]}', "headers": json_type}),
        (query, 200, {"content": '{"video_ids": ["A"], "kind": "*"}', "headers": json_type}),
        (query, 400, {"content": "{", "headers": json_type}),
        (query, 408, {"content": unending(), "headers": json_type}),
        (query, 413, {"content": b" " * (BATCH_BYTES_MAX + 1), "headers": json_type}),
        (query, 415, {"content": "{}"}),
        (query, 422, {"content": "{}", "headers": json_type}),
        (query, 403, {**example, "headers": {**json_type, "Origin": "null"}}),
        (with_keys, 401, example),
        (away, 503, example),
        (limited, 200, example),
        (limited, 429, example),
    ):
        answer = ask(app, "POST", BATCH.path, **request)
        assert answer.status_code == status, answer.text
        described.hold(BATCH.path, answer)


def test_answers_of_querys_private_port_are_as_described(service: Service, tmp_path: Path) -> None:
    described = Described(PRIVATE_OPENAPI)
    away = unconnected()
    for path in ("/metrics", "/healthz", "/readyz"):
        for app in (service.private, away.private):
            described.hold(path, ask(app, "GET", path))
    hold_keys(described, lambda settings: query_app.build_service(settings, lambda: NOW), tmp_path)
    assert described.statuses == all_statuses(PRIVATE_OPENAPI)


def unconnected() -> Service:
    """The service whose lifespan has not begun: there is no session yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_app, "CountStore", CountStore)
        patch.setattr(query_app, "Following", Following)
        return query_app.build_service(Settings(), lambda: NOW)


def test_a_list_that_left_shards_out_says_so(query: Starlette) -> None:
    found = ask(query, "GET", "/v1/top?limit=1").json()
    assert (found["exact"], "name view in" in found["not_exact_because"]) == (False, True)
    assert found["videos"][0]["created_at"] == "2025-06-01T08:00:00Z"


@pytest.mark.parametrize("operation", [one for one, _ in QUESTIONS if one.parameters])
def test_what_a_parameter_is_by_default_changes_no_answer(query: Starlette, operation: Operation[Any]) -> None:
    said = {one.name: one.schema["default"] for one in operation.parameters if "default" in one.schema}
    url = next(url for one, url in QUESTIONS if one is operation)
    answer = ask(query, "GET", url)
    assert ask(query, "GET", url, params={**answer.request.url.params, **said}).content == answer.content


@pytest.mark.parametrize("operation", [one for one, _ in QUESTIONS if one.parameters])
def test_every_choice_of_a_parameter_is_known(query: Starlette, operation: Operation[Any]) -> None:
    url = next(url for one, url in QUESTIONS if one is operation)
    for parameter in operation.parameters:
        for value in parameter.schema.get("enum", ()):
            # A stream must have an end.
            params = {**httpx2.URL(url).params, parameter.name: value}
            assert ask(query, "GET", url, params=params).status_code == 200, value


def test_too_many_files_are_a_bad_parameter(query: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_arguments: object, **_named: object) -> Any:
        raise TooManyFilesError(11, 10, NOW - DAY)

    monkeypatch.setattr(Tables, "series", refuse)
    answer = ask(query, "GET", "/v1/videos/A/series")
    reason = "asks for 11 files of history, more than 10; narrow the range"
    error = {"field": "from", "value": "2026-03-19T15:30:00+00:00", "reason": reason}
    assert (answer.status_code, answer.json()["errors"]) == (422, [error])


def test_a_tally_has_the_columns_of_the_ledger() -> None:
    assert answers.Tally.__struct_fields__ == (*LEDGER_COLUMNS, "balanced")
    assert answers.TallyMinute.__struct_fields__ == ("start", *LEDGER_COLUMNS, "balanced")


# --- ingest


class Writer(FakeWriter):
    """One that has acknowledged events before it is asked."""

    def __init__(self, *_arguments: object, tally: Any, **_named: object) -> None:
        super().__init__()
        tally.acknowledged(int(NOW.timestamp() * 1000), 3)


class Objects:
    """A store in which every object is durable."""

    def __init__(self, *_: object) -> None:
        pass

    def put(self, *_: object) -> None:
        pass


def body(*events: dict[str, Any]) -> dict[str, Any]:
    return {"content": json.dumps({"events": events}), "headers": {"content-type": JSON}}


async def unending() -> AsyncIterator[bytes]:
    yield b'{"events": ['
    await asyncio.sleep(3600)


def test_answers_of_ingest_are_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    described = Described(ingest_routes.OPENAPI)
    monkeypatch.setattr(ingest_app, "EventWriter", Writer)
    app = ingest_app.build_service(Settings(ingest=SMALL)).public
    events = ingest_routes.EVENTS.path

    def post(status: int, **request: Any) -> None:
        answer = ask(app, "POST", events, **request)
        assert answer.status_code == status, answer.text
        described.hold(events, answer)

    all_fields = {"video_id": "A", "viewer_id": "v", "country": "DE", "device": "tv", "position": 1}
    post(202, **body(all_fields, {"video_id": ""}))
    example = ingest_routes.EVENTS.bodies[0].example
    post(400, **body(*example["events"]))
    post(400, content=b"[]", headers={"content-type": JSON})
    post(408, content=unending(), headers={"content-type": JSON})
    post(413, content=b" " * (BODY_BYTES_MAX + 1), headers={"content-type": JSON})
    post(415, content=b"", headers={"content-type": "text/csv"})
    viewed_at = {"viewed_at": f"{datetime.now(UTC) - HOUR:%Y-%m-%dT%H:%M:%SZ}"}
    post(
        202,
        content=json.dumps({"events": [{"video_id": "A", **viewed_at}], "sent_at": 946_684_800_000}),
        headers={"content-type": JSON},
    )
    keyed = body({"video_id": "A"})
    post(202, **{**keyed, "headers": {**keyed["headers"], "Idempotency-Key": "k"}})
    post(403, headers={"Origin": "null"})
    with_keys = ingest_app.build_service(Settings(access=AccessSettings(mode="keys"))).public
    described.hold(events, ask(with_keys, "POST", events))
    post(422, params={"dry_run": "yes"}, **body({"video_id": "A"}))
    described.hold(ingest_routes.SCHEMA.path, ask(app, "GET", "/v1/schemas/ViewEvent.v1"))
    described.hold(ingest_routes.SCHEMA.path, ask(app, "GET", "/v1/schemas/ViewEvent.v99"))
    for url, status in (("", 200), ("?key_id=x", 404), ("?x=1", 422), ("?key=vc_write_x", 400)):
        answer = ask(app, "GET", f"{ingest_routes.RECENT.path}{url}")
        assert answer.status_code == status
        described.hold(ingest_routes.RECENT.path, answer)
    described.hold(ingest_routes.RECENT.path, ask(app, "GET", ingest_routes.RECENT.path, headers={"Origin": "null"}))
    with monkeypatch.context() as patch:
        patch.setattr(recent_endpoint, "_ONE", Amount(1000.0))
        ask(app, "GET", ingest_routes.RECENT.path)
        often = ask(app, "GET", ingest_routes.RECENT.path)
        assert often.status_code == 429
        described.hold(ingest_routes.RECENT.path, often)
    described.hold(ingest_routes.RECENT.path, ask(with_keys, "GET", ingest_routes.RECENT.path))
    for operation in (ingest_routes.TIME, HEALTHZ, ingest_routes.READYZ):
        described.hold(operation.path, ask(app, "GET", operation.path))
    monkeypatch.setattr(Writer, "events_in_flight", 1 << 60)
    post(429, **body({"video_id": "A"}))
    monkeypatch.setattr(Writer, "events_in_flight", 0)
    monkeypatch.setattr(Writer, "failure", "no broker")
    post(503, **body({"video_id": "A"}))
    monkeypatch.setattr(Writer, "trouble", "Kafka is away")
    post(503, **body({"video_id": "A"}))
    described.hold(ingest_routes.READYZ.path, ask(app, "GET", ingest_routes.READYZ.path))
    monkeypatch.setattr(ingest_app, "OverflowObjects", Objects)
    app = ingest_app.build_service(Settings(ingest=SMALL, overflow=OVERFLOW)).public
    post(202, **body({"video_id": "A"}))
    assert described.statuses == all_statuses(ingest_routes.OPENAPI)
    of_bodies = {"EventsBody", "SentEvent", "CloudEvent"}
    assert described.fields == described.fields_of(set(described.schemas) - of_bodies)


def test_answers_of_ingests_private_port_are_as_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    described = Described(ingest_routes.PRIVATE_OPENAPI)
    monkeypatch.setattr(ingest_app, "EventWriter", Writer)
    app = ingest_app.build_service(Settings()).private
    for operation in (ingest_routes.TALLY, ingest_routes.METRICS, HEALTHZ, ingest_routes.READYZ):
        described.hold(operation.path, ask(app, "GET", operation.path))
    monkeypatch.setattr(Writer, "trouble", "Kafka is away")
    described.hold(ingest_routes.READYZ.path, ask(app, "GET", ingest_routes.READYZ.path))
    hold_keys(described, ingest_app.build_service, tmp_path)
    assert described.statuses == all_statuses(ingest_routes.PRIVATE_OPENAPI)
    assert described.fields == described.fields_of(set(described.schemas) - {"Told"})


def test_the_example_of_a_body_is_as_described() -> None:
    described = Described(ingest_routes.OPENAPI)
    content = ingest_routes.OPENAPI["paths"]["/v1/events"]["post"]["requestBody"]["content"][JSON]
    described._validate(content["schema"], content["example"])


@pytest.mark.parametrize("description", [OPENAPI, ingest_routes.OPENAPI])
def test_every_schema_is_one_and_every_field_says_its_type(description: dict[str, Any]) -> None:
    for schema in description["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
        for field in schema["properties"].values():
            assert {"type", "anyOf", "$ref"} & set(field), field
