"""How the query service answers, whatever is asked: problems, ids of requests, parameters as bytes. No server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from schemas.access_keys import new_key
from services.access.caller import Caller
from services.docs_page import POLICY
from services.openapi import Operation
from services.problems import PROBLEM
from services.query import app as query_app
from services.query.api.operations.videos import VIEWS
from services.query.api.question import QuestionForm
from settings import Settings
from tests.support.full_tables import NOW, empty_history, full
from tests.support.tables import Tables

LOCAL = "http://localhost"
_, SECRET = new_key("read", "acme")
NOBODY = Caller("acme")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: full(empty_history(tmp_path)))
    public = query_app.build_service(Settings(), lambda: NOW).public
    return TestClient(public, base_url=LOCAL, raise_server_exceptions=False)


def raw(asked: TestClient, path: bytes, query: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """What is answered to these bytes, which a client would not send as they are."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "state": {},
    }
    scope |= {
        "raw_path": path,
        "path": path.decode("latin-1"),
        "query_string": query,
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(asked.app(scope, receive, send))  # type: ignore[arg-type]
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(b"".join(one.get("body", b"") for one in sent[1:]))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/top/", 404),
        ("POST", "/v1/top", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/v1/top?limit=0", 422),
        ("GET", "/v1/top?key=vc_read_x", 400),
    ],
)
def test_a_refusal_is_a_problem(asked: TestClient, method: str, path: str, status: int) -> None:
    answer = asked.request(method, path)
    found = answer.json()
    assert (answer.status_code, found["status"]) == (status, status)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (PROBLEM, "no-store")
    assert found["type"] == "about:blank"
    assert found["title"]
    assert found["detail"] == found["error"]
    assert ("allow" in answer.headers) == (status == 405)
    assert ("errors" in found) == (status == 422)


def test_a_failure_is_a_problem_and_the_log_names_the_request(
    asked: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object, **_named: object) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(Tables, "totals", fail)
    with capture_logs() as lines:
        answer = asked.get("/v1/videos/A/views", headers={"X-Request-Id": "r-1", "Origin": "http://localhost"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text
    # A page may read it.
    assert answer.headers["access-control-allow-origin"] == "*"
    (line,) = lines
    assert (line["request_id"], line["path"], line["error"]) == ("r-1", "/v1/videos/A/views", "KeyError('secret')")
    assert "line" in line["trace"]


def test_a_failure_of_what_is_no_question_is_a_problem_too(asked: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(Tables, "complete_through", fail)
    answer = asked.get("/readyz")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)


@pytest.mark.parametrize(
    ("sent", "is_taken"),
    [
        ("Root=1-67891233-abcdef0", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a b", False),
        ('"', False),
        ("", False),
    ],
)
def test_an_id_of_a_request_is_taken_if_it_is_well_formed(asked: TestClient, sent: str, is_taken: bool) -> None:
    found = asked.get("/healthz", headers={"X-Request-Id": sent}).headers["x-request-id"]
    assert (found == sent) == is_taken
    assert is_taken or len(found) == 32


def test_every_request_has_an_id_of_its_own(asked: TestClient) -> None:
    twice = [("X-Request-Id", "a"), ("X-Request-Id", "b")]
    found = [asked.get(path, headers=twice).headers["x-request-id"] for path in ("/v1/top", "/nothing", "/v1/top")]
    assert len({*found, "a", "b"}) == 5


def test_browsers_are_told_what_they_may_do(asked: TestClient) -> None:
    for path in ("/v1/top", "/nothing", "/docs"):
        headers = asked.get(path).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert asked.get("/docs").headers["content-security-policy"] == POLICY
    assert "sha256-" in POLICY


@pytest.mark.parametrize(
    ("path", "query", "errors"),
    [
        (b"/v1/videos/a%FFb/views", b"", [("video_id", "a\\xffb", "must be UTF-8")]),
        (b"/v1/videos/a\xffb/views", b"", [("video_id", "a\\xffb", "must be UTF-8")]),
        (b"/v1/videos/a%ED%A0%80/views", b"", [("video_id", "a\\xed\\xa0\\x80", "must be UTF-8")]),
        (b"/v1/channels/%80/series", b"", [("channel_id", "\\x80", "must be UTF-8")]),
        (b"/v1/top", b"kind=%C3", [("kind", "\\xc3", "must be UTF-8")]),
        (b"/v1/top", b"ki%FFnd=a", [("ki\\xffnd", "ki\\xffnd", "must be UTF-8")]),
        (b"/v1/top", b"kind=a&kind=b", [("kind", "b", "is given more than once; give it once")]),
        (b"/v1/top", b"kind=&at=", [("kind", "", None), ("at", "", "is empty; give it a value, or leave it out")]),
        (b"/v1/top", b"kind", [("kind", "", None)]),
        (b"/v1/top", b"n=1&m=2", [("n", "1", None), ("m", "2", None)]),
        (b"/v1/top", b"=1", [("", "1", None)]),
        (b"/v1/videos/A/views", b"key=vc_pubread_x&key=vc_pubread_y", [("key", "vc_pubread_y", None)]),
    ],
)
def test_a_bad_parameter_is_named_with_its_value(
    asked: TestClient, path: bytes, query: bytes, errors: list[tuple[str, str, str | None]]
) -> None:
    status, headers, found = raw(asked, path, query)
    assert (status, headers["content-type"]) == (422, PROBLEM)
    assert [(one["field"], one["value"]) for one in found["errors"]] == [(field, value) for field, value, _ in errors]
    for one, (_, _, reason) in zip(found["errors"], errors, strict=True):
        assert reason in (None, one["reason"])
        assert one["reason"] in found["detail"]


@pytest.mark.parametrize(
    "query", ["kye={}", "{}=1", "kind={}{}", "key={}&key=vc_pubread_x", "at={}", "a={}&a={}", "span=%ff{}"]
)
def test_a_secret_key_is_shown_nowhere(asked: TestClient, query: str) -> None:
    answer = asked.get(f"/v1/top?{query.replace('{}', SECRET)}")
    assert answer.status_code in (400, 422)
    for cut in range(len("vc_read_x"), len(SECRET)):
        assert SECRET[:cut] not in answer.text


def test_a_name_keeps_every_byte() -> None:
    read = QuestionForm(VIEWS).read
    for name in ("é", "a/b", "/", "a/views", "\n", "%", "+", "..", "\ufffd", "\0", "a?b#c"):
        escaped = "".join(f"%{byte:02x}" for byte in name.encode())
        question = read(NOBODY, f"/v1/videos/{escaped}/views".encode(), f"kind={escaped}&".encode())
        assert (question.path_params, question.query_params) == ({"video_id": name}, {"kind": name})
    assert read(NOBODY, b"/v1/vide%6Fs/A/views", b"kind=a+b%2B").query_params == {"kind": "a b+"}


def test_a_parameter_that_may_be_repeated_keeps_every_value() -> None:
    parameters = tuple(one if one.in_path else _repeated(one) for one in VIEWS.parameters)
    operation: Operation[Any] = Operation(VIEWS.path, "", VIEWS.answer, parameters=parameters)
    found = QuestionForm(operation).read(NOBODY, b"/v1/videos/A/views", b"kind=a&kind=b&kind=a").query_params
    assert (found["kind"], list(found.all("kind")), list(found.all("to"))) == ("a", ["a", "b", "a"], [])


def _repeated(one: Any) -> Any:
    return type(one)(**{**vars(one), "is_repeated": True})


def test_what_is_asked_of_operators_is_refused_by_a_problem_too(asked: TestClient) -> None:
    private = TestClient(query_app.build_service(Settings()).private, base_url=LOCAL)
    answer = private.get("/v1/top")
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
    assert "x-request-id" in answer.headers


def test_a_short_request_has_no_long_answer(asked: TestClient) -> None:
    answer = asked.get(f"/v1/top?{'&'.join(f'a{number}' for number in range(1000))}")
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 16)
