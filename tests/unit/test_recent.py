"""What became of a key's last events: who may ask, what is shown and what never is, and that memory has a bound."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.access.caller import Caller
from services.ingest import app as ingest_app
from services.ingest.events import Terms
from services.ingest.recent import endpoint
from services.ingest.recent.answers import BODIES_MAX, EVENTS_MAX, RecentEvent
from services.ingest.recent.notes import Notes
from services.ingest.recent.refusals import CALLERS_MAX, ERROR_LENGTH_MAX, Refusals
from services.ingest.recent.shared import TURN_EVENTS_MAX, bodies_together, together
from services.ingest.recent.shown import newest, shown
from services.ingest.taking import Packing, read
from services.limits.buckets import Rate
from services.refused import RefusedError
from settings import AccessSettings, IngestSettings, LimitSettings, RedisSettings, Settings
from tests.support.ingest_writer import FakeWriter, ingest_client
from tests.support.keys import load_keys

ALONE = RedisSettings(host="")
NOW_MS = 1_767_225_600_000
JSON = "application/json"
CALLER = Caller("acme", "k1")
OF = ("acme", "k1")


@pytest.fixture(autouse=True)
def _writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_app, "EventWriter", FakeWriter)


@pytest.fixture
def client() -> TestClient:
    return ingest_client(Settings(redis=ALONE))


def recent(client: TestClient, **headers: str) -> Any:
    answer = client.get("/v1/recent", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def note(notes: Notes, events: Sequence[dict[str, Any]], caller: Caller = CALLER, media: str = JSON) -> None:
    """Note a body as ingest does."""
    body = json.dumps({"events": events}).encode()
    reading = read(media, body, Terms("acme"), Packing(NOW_MS, 16), unpacked_bytes_max=1 << 26)
    packed = reading.pack().packed
    notes.note(caller, NOW_MS, packed, packed.rejected, 0, (media, body, reading.parsed.ignored))


def last(notes: Notes, of: tuple[str, str] = OF) -> list[RecentEvent]:
    return newest(notes.of(of), notes.process)


def videos(events: Sequence[RecentEvent]) -> list[Any]:
    return [one.video_id for one in events]


# --- what is shown

OTHER_BODIES: list[tuple[int, dict[str, Any]]] = [
    (400, {"content": b"[]", "headers": {"content-type": JSON}}),
    (400, {"json": {"events": []}}),
    (400, {"json": {"events": [{"video_id": ""}] * 1001}}),
    (413, {"content": b" " * 5000, "headers": {"content-type": JSON}}),
    (415, {"content": b"x", "headers": {"content-type": "text/csv"}}),
    (415, {"content": b"x", "headers": {"content-type": JSON, "content-encoding": "br"}}),
    (422, {"json": {"events": []}, "params": {"dry": "true"}}),
]


@pytest.mark.parametrize(("status", "request_of"), OTHER_BODIES, ids=range(len(OTHER_BODIES)))
def test_a_body_that_was_refused_as_a_whole_is_shown_with_its_reason_and_size(
    status: int, request_of: dict[str, Any]
) -> None:
    bytes_max = 1 << 20 if "json" in request_of else 4096
    client = ingest_client(Settings(redis=ALONE, ingest=IngestSettings(body_bytes_max=bytes_max)))
    answer = client.post("/v1/events", **request_of)
    assert answer.status_code == status
    found = recent(client)
    assert found["events"] == []
    (refused,) = found["refused"]
    assert (refused["status"], refused["times"], refused["number"]) == (status, 1, 0)
    assert refused["error"] == answer.json()["error"]
    assert refused["bytes"] == int(answer.request.headers["content-length"])


def test_what_a_parameter_holds_that_is_not_known_is_shown_to_nobody(client: TestClient) -> None:
    answer = client.post("/v1/events", params={"token": "s3cret"}, json={"events": [{"video_id": "A"}]})
    assert answer.json()["error"] == "the parameter token is not known here; the parameters are dry_run, key"
    assert "s3cret" not in client.get("/v1/recent").text


def test_a_client_that_goes_on_after_a_429_is_one_entry_and_pushes_no_event_out() -> None:
    client = ingest_client(Settings(redis=ALONE, limits=LimitSettings(events_per_s=0.1, burst_ms=1000)))
    assert client.post("/v1/events", json={"events": [{"video_id": "A"}]}).status_code == 202
    for _ in range(30):
        assert client.post("/v1/events", json={"events": [{"video_id": "B"}]}).status_code == 429
    found = recent(client)
    assert [event["video_id"] for event in found["events"]] == ["A"]
    assert [(one["status"], one["times"]) for one in found["refused"]] == [(429, 30)]


def test_a_body_of_which_events_are_shown_is_in_no_other_list(client: TestClient) -> None:
    assert client.post("/v1/events", json={"events": [{"video_id": ""}]}).status_code == 400
    found = recent(client)
    assert (len(found["events"]), found["refused"]) == (1, [])


def test_the_last_refused_bodies_are_kept_and_each_reason_is_its_own() -> None:
    refusals = Refusals("p")
    for number in range(3 * BODIES_MAX):
        refusals.note(CALLER, NOW_MS + number, RefusedError(400, f"reason {number // 2}"), None)
    found = refusals.of(OF)
    assert [(one.error, one.times) for one in found[:2]] == [("reason 29", 2), ("reason 28", 2)]
    assert len(found) == BODIES_MAX
    refusals.note(CALLER, NOW_MS, RefusedError(415, "reason 29" + "x" * 10_000), 7)
    assert len(refusals.of(OF)[0].error) == ERROR_LENGTH_MAX
    assert refusals.of(OF)[1].times == 2


def test_of_many_callers_those_that_were_heard_of_last_are_kept() -> None:
    refusals = Refusals("p")
    callers = [Caller("acme", f"k{number}") for number in range(CALLERS_MAX + 1)]
    for caller in (callers[0], *callers[:-1], callers[0], callers[-1]):
        refusals.note(caller, NOW_MS, RefusedError(400, "bad"), None)
    assert [len(refusals.of(("acme", f"k{number}"))) for number in (0, 1, 2, CALLERS_MAX)] == [1, 0, 1, 1]
    assert len(refusals.waiting) == CALLERS_MAX


def test_a_refused_body_that_was_shared_changes_no_more() -> None:
    refusals = Refusals("p")

    def note() -> None:
        refusals.note(CALLER, NOW_MS, RefusedError(429, "wait"), 1)

    note()
    note()
    (first,) = refusals.to_share(OF)
    # Meanwhile Redis is asked.
    note()
    refusals.is_shared(OF, first.number)
    assert list(refusals.waiting) == [OF]
    assert [one.times for one in refusals.of(OF)] == [1, 2]
    (second,) = refusals.to_share(OF)
    refusals.is_shared(OF, second.number)
    assert (refusals.waiting, refusals.to_share(OF)) == ({}, [])
    assert bodies_together(refusals.of(OF), [first]) == [second, first]


def test_accepted_and_refused_events_are_shown_and_the_newest_is_first(client: TestClient) -> None:
    at = "2026-01-01T00:00:00Z"
    sent = [{"video_id": "A", "country": "DE"}, {"video_id": ""}, {"video_id": "B", "kind": "like"}]
    assert client.post("/v1/events", json={"events": sent}).status_code == 202
    assert client.post("/v1/events", json={"events": [{"video_id": "C", "event_id": "x", "viewed_at": at}]})
    answer = recent(client)
    assert (answer["project"], answer["key"], answer["process"].startswith("ingest-")) == ("default", None, True)
    last, like, bad, first = answer["events"]
    assert (like["video_id"], like["kind"], like["outcome"], "country" in like) == ("B", "like", "accepted", False)
    assert (first["country"], first["index"], first["body"]) == ("DE", 0, 0)
    assert (bad["outcome"], bad["rejected"]["field"], bad["rejected"]["value"]) == ("refused", "video_id", "")
    assert (last["body"], last["rejected"]["field"]) == (1, "viewed_at")


def test_a_dry_run_is_not_in_it(client: TestClient) -> None:
    client.post("/v1/events?dry_run=true", json={"events": [{"video_id": "A"}]})
    assert recent(client)["events"] == []


def test_events_that_kafka_did_not_take_are_refused_with_their_fields(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWriter, "failure", "no broker")
    assert client.post("/v1/events", json={"events": [{"video_id": "A"}]}).status_code == 503
    (event,) = recent(client)["events"]
    assert (event["video_id"], event["outcome"]) == ("A", "refused")
    assert "no broker" in event["rejected"]["reason"]


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("media", [JSON, "application/x-ndjson", "application/cloudevents-batch+json"])
def test_no_value_of_a_viewer_or_of_an_unknown_field_is_shown(client: TestClient, media: str, count: int) -> None:
    """Neither by kernels nor without them, neither of accepted events nor of refused ones."""
    some = [
        {"video_id": "A", "viewer_id": "s3cret-v", "email": "s3cret-e"},
        {"video_id": "A", "viewer_id": "s3cret" * 20},
        {"video_id": {"viewer_id": "s3cret"}},
        {"video_id": "A", "viewerId": "s3cret"},
        {"video_id": "A", "viewer_id": ["s3cret"]},
    ] * count
    if media == JSON:
        content = json.dumps({"events": some})
    elif media == "application/x-ndjson":
        content = "\n".join(map(json.dumps, some))
    else:
        head = {"specversion": "1.0", "type": "x", "source": "/", "time": "2026-01-01T00:00:00Z", "subject": "s3cret"}
        content = json.dumps([{**head, "id": f"{n}", "data": one} for n, one in enumerate(some)])
    client.post("/v1/events", content=content, headers={"content-type": media})
    answer = client.get("/v1/recent").text
    assert "s3cret" not in answer
    events = json.loads(answer)["events"]
    assert len(events) == len(some)
    if "cloudevents" not in media:
        (first,) = [one["hidden"] for one in events if one["index"] == 0]
        assert first == [{"name": "viewer_id", "bytes": 8}, {"name": "email", "bytes": 10}]
        assert {one["outcome"] for one in events if one["index"] % 5} == {"refused"}


def test_unknown_fields_of_a_long_body_are_named_without_sizes() -> None:
    notes = Notes("p")
    note(notes, [{"video_id": "A", "padding": "x" * 2000}] * 100)
    (name,) = {(one.name, one.bytes) for event in last(notes) for one in event.hidden or []}
    assert name == ("padding", None)


# --- who may ask


def test_keys_of_a_project_see_each_other_and_no_other_project(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = {
        name: new_key(scope, project)  # type: ignore[arg-type]
        for name, scope, project in (
            ("write", "write", "acme"),
            ("admin", "admin", "acme"),
            ("read", "read", "acme"),
            ("other", "write", "zeta"),
        )
    }
    change_keys(path, lambda _keys: tuple(key for key, _ in made.values()))
    settings = Settings(redis=ALONE, access=AccessSettings(mode="keys", keys_file=str(path)))
    service = ingest_app.build_service(settings)
    load_keys(service)
    asked = TestClient(service.public, base_url="http://localhost")
    as_ = {name: {"Authorization": f"Bearer {text}"} for name, (_, text) in made.items()}
    ids = {name: key.id for name, (key, _) in made.items()}
    for name, video in (("write", "A"), ("other", "Z")):
        assert asked.post("/v1/events", json={"events": [{"video_id": video}]}, headers=as_[name]).status_code == 202
    own = recent(asked, **as_["write"])
    assert (own["key"], [one["video_id"] for one in own["events"]]) == (ids["write"], ["A"])
    assert recent(asked, **as_["admin"])["events"] == []
    of = {"key_id": ids["write"]}
    assert asked.get("/v1/recent", params=of, headers=as_["admin"]).json() == own
    assert asked.get("/v1/recent", headers=as_["read"]).status_code == 403
    foreign = asked.get("/v1/recent", params=of, headers=as_["other"])
    assert (foreign.status_code, ids["write"] in foreign.json()["error"].partition(";")[2]) == (404, False)
    assert asked.get("/v1/recent").status_code == 401


# --- bounds


def test_the_last_events_of_a_caller_are_kept_whatever_the_size_of_bodies() -> None:
    notes = Notes("p")
    for n in range(2 * EVENTS_MAX):
        note(notes, [{"video_id": f"{n}"}])
    assert videos(last(notes)) == [f"{n}" for n in range(2 * EVENTS_MAX - 1, EVENTS_MAX - 1, -1)]
    note(notes, [{"video_id": f"b{n}" if n % 3 else ""} for n in range(800)])
    found = last(notes)
    assert [one.index for one in found] == list(range(799, 299, -1))
    assert all((one.outcome == "refused") == (one.index % 3 == 0) for one in found)
    note(notes, [{"video_id": "last"}])
    assert videos(last(notes))[:2] == ["last", "b799"]
    assert len(last(notes)) == EVENTS_MAX


def test_of_many_refusals_the_last_are_kept() -> None:
    notes = Notes("p")
    note(notes, [{"video_id": ""}] * (2 * EVENTS_MAX))
    found = last(notes)
    assert [one.index for one in found] == list(range(2 * EVENTS_MAX - 1, EVENTS_MAX - 1, -1))
    assert {one.outcome for one in found} == {"refused"}
    assert len(notes.of(OF)[0].rejected) == EVENTS_MAX


def test_a_caller_who_asks_too_often_is_told_to_wait(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing comes back within the test.
    monkeypatch.setattr(endpoint, "_ASKS", Rate(0.001, 2.0))
    answers = [client.get("/v1/recent") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert 900 <= int(answers[-1].headers["retry-after"]) <= 1000


def test_bytes_run_out_for_whoever_was_not_heard_of_for_the_longest_time() -> None:
    notes = Notes("p", bytes_max=20_000)
    for n in range(40):
        note(notes, [{"video_id": "A"}], Caller("acme", "idle" if n < 2 else f"k{n}"))
        assert notes._bytes <= 20_000
    assert last(notes, ("acme", "idle")) == []
    assert len(last(notes, ("acme", "k39"))) == 1
    assert len(notes._kept) < 40
    assert set(notes.waiting) <= set(notes._kept)
    # One body alone that is too large leaves nothing, and no count of bytes that stays.
    note(notes, [{"video_id": "A"}] * 1000)
    assert (notes._bytes, notes._kept, len(notes.waiting)) == (0, {}, 0)


def test_what_was_shared_is_not_shared_again() -> None:
    notes = Notes("p")
    note(notes, [{"video_id": "A"}])
    (first,) = notes.not_shared(OF)
    note(notes, [{"video_id": "B"}])
    notes.is_shared(OF, first.number)
    assert OF in notes.waiting
    (second,) = notes.not_shared(OF)
    notes.is_shared(OF, second.number)
    assert (videos(shown(first, "p")), videos(shown(second, "p"))) == (["A"], ["B"])
    assert notes.not_shared(OF) == []
    assert not notes.waiting
    assert TURN_EVENTS_MAX >= EVENTS_MAX


def test_events_of_several_processes_are_put_together_once_each() -> None:
    one, other = Notes("p"), Notes("q")
    note(one, [{"video_id": "A"}] * 400)
    note(other, [{"video_id": "B"}] * 200)
    found = together(last(one), [*last(one), *last(other)])
    assert len(found) == EVENTS_MAX
    assert len({(event.process, event.index) for event in found}) == EVENTS_MAX
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[RecentEvent]) == found
