"""`view-counts views|series|top|live|ledger|audit` against the real query service, and against one that fails."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from services.query import app as query_app
from settings import Settings
from tests.support.full_tables import NOW, empty_history, full
from view_counts_client.cli import app
from view_counts_client.terminal import commands
from view_counts_client.terminal.asking import AskError, Exit, Query, Waits
from view_counts_client.terminal.live import Follow, updates
from view_counts_client.transport import Answer, HttpTransport, NoAnswerError, Timeouts

TIMES = ("--from", "2026-03-20T12:00:00Z", "--to", "2026-03-20T15:00:00Z")


class Direct:
    """Requests to an application without a network."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        return _answer(self._client.get(url.removeprefix("http://localhost"), headers=dict(headers)))

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return _answer(self._client.post(url.removeprefix("http://localhost"), headers=dict(headers), content=body))

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        answer = self.get(url, headers)
        yield answer._replace(body=b""), iter([answer.body])

    def close(self) -> None:
        pass


class Scripted:
    """Gives these answers in turn, and notes what it was asked. Text is the body of a stream of events."""

    def __init__(self, *answers: Answer | str | NoAnswerError) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[Any] = []

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        self.asked.append((url, dict(headers)))
        answer = self._answers.pop(0)
        if isinstance(answer, NoAnswerError):
            raise answer
        if isinstance(answer, str):
            return Answer(200, {"content-type": "text/event-stream; charset=utf-8"}, answer.encode())
        return answer

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.bodies.append(json.loads(body))
        return self.get(url, headers)

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        answer = self.get(url, headers)
        yield answer._replace(body=b""), iter([answer.body])

    def close(self) -> None:
        pass


def _answer(response: Any) -> Answer:
    return Answer(response.status_code, dict(response.headers), response.content)


def said(status: int, body: Any, **headers: str) -> Answer:
    kind = {"content-type": "application/json"}
    return Answer(status, {**kind, **headers}, json.dumps(body).encode())


def run(transport: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> Result:
    monkeypatch.setattr(commands, "open_transport", lambda: transport)
    return CliRunner().invoke(app, [*arguments, "--url", "http://localhost", "--wait", "0"], env=environment)


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Direct:
    history = empty_history(tmp_path)
    monkeypatch.setattr(query_app, "CountStore", lambda *_: full(history))
    return Direct(TestClient(query_app.build_service(Settings(), lambda: NOW).public, base_url="http://localhost"))


@pytest.mark.parametrize(
    ("arguments", "path", "rows"),
    [
        (("views", "A"), "/v1/videos/A/views", None),
        (("series", "A", "--granularity", "hour", *TIMES), "/v1/videos/A/series", "points"),
        (("top", "--limit", "2"), "/v1/top", "videos"),
        (("top", "--span", "clock_hour", "--country", "DE"), "/v1/top", "videos"),
        (("ledger", *TIMES), "/v1/ledger", "minutes"),
    ],
)
def test_an_answer_of_the_service_is_shown_in_each_form(
    real: Direct, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], path: str, rows: str | None
) -> None:
    as_json = run(real, monkeypatch, *arguments, "--json")
    assert as_json.exit_code == 0, as_json.output
    answer = json.loads(as_json.stdout)
    named = dict(zip(*[iter(one.lstrip("-") for one in arguments[1 + (arguments[1][0] != "-") :])] * 2, strict=True))
    assert answer == json.loads(real.get(f"http://localhost{path}?{httpx2.QueryParams(named)}", {}).body)
    own = [answer] if rows is None else answer[rows]
    assert own
    as_csv = run(real, monkeypatch, *arguments, "--csv")
    head, *lines = as_csv.stdout.splitlines()
    assert len(lines) == len(own)
    assert set(head.split(",")) - {"place"} <= {name for row in own for name in row}
    as_table = run(real, monkeypatch, *arguments)
    assert as_table.exit_code == 0
    for row in own:
        for value in row.values():
            if isinstance(value, int) and not isinstance(value, bool):
                assert f"{value:,}" in as_table.stdout
    if complete := answer.get("complete_through"):
        assert f"complete through {complete}" in as_table.stdout.replace("\n", "")
        assert complete in as_csv.stderr


def test_many_videos_and_kinds_are_one_table(real: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("views", "A", "a/b?c", "A", "--kind", "view", "--kind", "like", "--csv")
    lines = run(real, monkeypatch, *asked).stdout.splitlines()
    assert [line.split(",")[:2] for line in lines] == [
        ["video_id", "kind"],
        *([video, kind] for video in ("A", "a/b?c") for kind in ("view", "like")),
    ]
    one = run(real, monkeypatch, "views", "A", "--json")
    both = run(real, monkeypatch, "views", "A", "B", "--json")
    assert json.loads(both.stdout)["videos"][0]["kinds"][0]["views"] == json.loads(one.stdout)["views"]


def test_more_videos_than_one_answer_has_are_asked_for_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"v-{n}" for n in range(501)]
    parts = [{"videos": [{"video_id": one, "kinds": [{"kind": "view", "views": 1}]} for one in names[a : a + 500]]}
             for a in (0, 500)]  # fmt: skip
    transport = Scripted(*(said(200, part) for part in parts))
    result = run(transport, monkeypatch, "views", *names, "--csv")
    assert [len(body["video_ids"]) for body in transport.bodies] == [500, 1]
    assert [line.split(",")[0] for line in result.stdout.splitlines()[1:]] == names


def test_a_wrong_question_is_2_and_names_field_value_and_reason(real: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(real, monkeypatch, "series", "A", "--from", "yesterday")
    assert result.exit_code == Exit.WRONG
    assert "from='yesterday': " in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (said(401, {"error": "there is no valid key"}), Exit.DENIED, "there is no valid key: set VC_KEY"),
        (said(403, {"title": "Forbidden", "detail": "not this channel"}), Exit.DENIED, "not this channel: set VC_KEY"),
        (said(404, {"detail": "no such path"}), Exit.WRONG, "no such path: look whether the service is older"),
        (
            said(422, {"errors": [{"field": "at", "value": "\x1b[2J", "reason": "no time"}]}),
            Exit.WRONG,
            "at='\\x1b[2J'",
        ),
        (said(503, {"error": "Cassandra does not answer"}), Exit.NO_ANSWER, "503: Cassandra does not answer"),
        (Answer(502, {"content-type": "text/html"}, b"<html>"), Exit.NO_ANSWER, "look whether --url is right"),
        (Answer(200, {}, b"<html>"), Exit.WRONG, "has not answered in JSON"),
        (NoAnswerError("refused"), Exit.NO_ANSWER, "refused: look whether --url is right"),
    ],
)
def test_what_fails_has_a_sentence_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, answer: Answer | NoAnswerError, code: Exit, text: str
) -> None:
    result = run(Scripted(answer), monkeypatch, "views", "A")
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert "\x1b" not in result.stderr


def test_a_ledger_that_does_not_balance_and_a_wrong_audit_are_4(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = {
        "minutes": [{"start": "S", "received": 2, "balanced": False}],
        "total": {"received": 2, "balanced": False},
    }
    result = run(Scripted(said(200, ledger)), monkeypatch, "ledger")
    assert result.exit_code == Exit.NOT_EXACT
    assert "sum" in result.stdout
    wrong = {"view-counts-audit": 'wrong;at="2026-01-02T03:00:00Z";wrong=3;repaired=1'}
    result = run(
        Scripted(said(200, {"hours": [{"wrong": 3}], "findings": [{"what": "days"}]}, **wrong)), monkeypatch, "audit"
    )
    assert (result.exit_code, "found 3 wrong numbers" in result.stdout) == (Exit.NOT_EXACT, True)
    assert "days" in result.stdout
    assert run(Scripted(said(200, {"hours": [], "findings": []})), monkeypatch, "audit").exit_code == 0


def test_a_key_is_in_the_environment_or_a_file_and_never_an_argument(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("vc_read_file\n")
    for arguments, environment, key in (
        ((), {"VC_KEY": "vc_read_text"}, "vc_read_text"),
        (("--key-file", str(file)), {"VC_KEY": "vc_read_text"}, "vc_read_file"),
    ):
        transport = Scripted(said(200, {"videos": []}))
        assert run(transport, monkeypatch, "top", *arguments, **environment).exit_code == 0
        assert transport.asked[0][1]["authorization"] == f"Bearer {key}"
    assert run(Scripted(), monkeypatch, "top", "--key", "vc_read_x").exit_code == Exit.WRONG
    file.write_text("one two")
    assert "put the key alone into it" in run(Scripted(), monkeypatch, "top", "--key-file", str(file)).stderr


def test_both_forms_and_a_url_that_is_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "choose one" in run(Scripted(), monkeypatch, "top", "--json", "--csv").stderr
    result = CliRunner().invoke(app, ["top", "--url", "localhost:8090"])
    assert (result.exit_code, "begin it with http://" in result.stderr) == (Exit.WRONG, True)


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept.append(seconds)


def query(transport: Any, clock: Clock, most_s: float = 10.0) -> Query:
    return Query("http://localhost", None, transport, Waits(most_s, lambda: clock.now_s, clock.sleep))


def test_a_service_that_cannot_answer_now_is_asked_again_as_it_says_and_not_for_ever() -> None:
    clock = Clock()
    away = said(503, {"error": "away"}, **{"retry-after": "3"})
    assert query(Scripted(away, NoAnswerError("x"), said(200, {"a": 1})), clock).ask("/v1/top", {}).found == {"a": 1}
    assert clock.slept == [3.0, 1.0]
    with pytest.raises(AskError, match="503: away"):
        query(Scripted(*[away] * 9), clock).ask("/v1/top", {})
    assert clock.slept == [3.0, 1.0, 3.0, 3.0, 3.0]


def events(*objects: Any, kind: str = "views") -> str:
    lines = (f"event: {kind}\nid: {place}\ndata: {json.dumps(one)}\n\n" for place, one in enumerate(objects, 1))
    return "".join(lines)


def test_updates_come_by_events_and_go_on_after_the_last_one() -> None:
    first = ": hello\n\n" + events({"views": 1}, {"views": 2}) + 'event: end\ndata: {"because": "leaving"}\n\n'
    transport = Scripted(first, events({"views": 3}))
    following = updates(query(transport, Clock()), Follow.video("A", "like"), 2.0)
    assert [next(following).said["views"] for _ in range(3)] == [1, 2, 3]
    assert [url for url, _ in transport.asked] == ["http://localhost/v1/videos/A/live?kind=like"] * 2
    assert [headers.get("last-event-id") for _, headers in transport.asked] == [None, "2"]
    assert transport.asked[0][1]["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    "failure",
    [said(404, {"detail": "no such path"}), NoAnswerError("silent"), ": nothing\n\n", said(200, {"views": 1})],
)
def test_where_there_are_no_events_the_question_is_put_again_and_a_change_is_an_update(failure: Any) -> None:
    clock = Clock()
    same = said(200, {"views": 1})
    transport = Scripted(failure, same, same, said(200, {"views": 4}))
    following = updates(query(transport, clock), Follow.video("A", None), 2.0)
    assert [next(following).said["views"] for _ in range(2)] == [1, 4]
    assert clock.slept == [2.0, 2.0]
    assert transport.asked[1][0] == "http://localhost/v1/videos/A/views"


def test_a_key_that_may_not_is_not_asked_about_again() -> None:
    with pytest.raises(AskError, match="no key"):
        next(updates(query(Scripted(said(401, {"error": "no key"})), Clock()), Follow.top(None), 2.0))


def test_live_prints_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    text = events({"views": 1000}, {"views": 1000}, {"views": 1250})
    lines = run(Scripted(text), monkeypatch, "live", "A", "--updates", "3").stdout.splitlines()
    assert [line.split() for line in lines] == [["1,000"], ["1,000", "+0", "▁"], ["1,250", "+250", "▁█"]]
    plain = run(Scripted(text), monkeypatch, "live", "A", "--updates", "2", "--csv").stdout
    assert plain == "views\n1000\n1000\n"
    top = events({"videos": [{"video_id": "A", "views": 5}]}, kind="top")
    assert "A" in run(Scripted(top), monkeypatch, "live", "--updates", "1").stdout


def test_live_says_when_nothing_can_be_read_and_why_a_number_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered = {"before": 9, "now": 5, "because": "a repair"}
    text = events({"views": 9}) + events(lowered, kind="lowered") + events({"error": "away"}, kind="away")
    shown = run(Scripted(text + events({"views": 5})), monkeypatch, "live", "A", "--updates", "2")
    assert shown.stderr.splitlines() == ["lowered: before: 9, now: 5, because: a repair", "away: error: away"]
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["9", "5"]
    plain = run(Scripted(text + events({"views": 5})), monkeypatch, "live", "A", "--updates", "2", "--json")
    assert [json.loads(line).get("event") for line in plain.stdout.splitlines()] == [None, "lowered", "away", None]


class Handler(BaseHTTPRequestHandler):
    """Sends two events, and is silent then."""

    silence = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number in (1, 2):
            self.wfile.write(f'data: {{"views": {number}}}\n\n'.encode())
            self.wfile.flush()
        self.silence.wait(30)

    def log_message(self, *_: object) -> None:
        pass


def test_events_are_there_before_a_stream_ends_and_one_that_is_silent_is_given_up() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    transport = HttpTransport(Timeouts(5.0, 0.2, 5.0))
    try:
        asked = Query(f"http://127.0.0.1:{server.server_port}", None, transport, Waits(0.0))
        following = asked.follow("/v1/videos/A/live", {}, None)
        assert [json.loads(next(following).data)["views"] for _ in range(2)] == [1, 2]
        with pytest.raises(AskError, match="ReadTimeout"):
            next(following)
    finally:
        Handler.silence.set()
        transport.close()
        server.shutdown()
        server.server_close()
