"""The Idempotency-Key of a request: which ids it makes, which keys there are, and what the answer says. No server."""

import hashlib
import json
import uuid
from typing import Any

import pytest

from schemas.values import time_of_id
from services.ingest.events import Terms, parse_json, parse_ndjson
from services.ingest.idempotency import HEADER, key_of
from services.refused import RefusedError
from tests.support.ingest_writer import FakeWriter, ingest_client, installed
from tests.support.packed_events import events_of

NOW_MS = 1_767_225_600_000
ID = "7f9c24e8-3b12-4fef-91e0-56a2d5a3f0b1"
TIMED = "019b76da-a800-7000-8000-000000000005"


def ids(body: bytes, key: str = "k", project: str = "shop", now_ms: int = NOW_MS) -> list[uuid.UUID]:
    return [one.event_id for one in parse_json(body, Terms(project, key_of([key], now_ms))).events]


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": events}).encode()


def test_an_id_is_made_of_project_key_place_and_the_event_as_sent() -> None:
    raw = '{"video_id": "A",  "device":"tv"}'
    (found, other) = ids(f'{{"events": [{raw} ,{raw}]}}'.encode())
    digest = hashlib.sha256(raw.encode()).hexdigest()
    namespace = uuid.UUID("dafe1108-8ecf-5366-90e2-aa3e984b04f1")
    assert found == uuid.uuid5(namespace, f"shop\0k\0000\0{digest}")
    assert other == uuid.uuid5(namespace, f"shop\0k\0001\0{digest}")
    lines = parse_ndjson(f"\r\n{raw}\r\n\n{raw}".encode(), Terms("shop", key_of(["k"], NOW_MS)))
    assert [one.event_id for one in lines.events] == [found, other]


def test_whatever_differs_makes_another_id() -> None:
    one = body({"video_id": "A"})
    different = {
        ids(one)[0], ids(one, key="K")[0], ids(one, project="other")[0], ids(body({"video_id": "B"}))[0],
        ids(body({"video_id": "A", "position": 1}))[0], ids(body({}, {"video_id": "A"}))[0],
    }  # fmt: skip
    assert len(different) == 6
    assert ids(one, now_ms=NOW_MS + 99) == ids(one, key='"k"') == ids(one)


def test_events_with_ids_keep_them_and_need_their_times() -> None:
    sent = body({"video_id": "A", "event_id": ID, "viewed_at": 7}, {"video_id": "A", "event_id": ID}, {"video_id": "A"})
    parsed = parse_json(sent, Terms("shop", key_of([TIMED], NOW_MS)))
    assert [str(one.event_id) for one in parsed.events[:2]] == [ID, ID]
    assert [one.viewed_at for one in parsed.events] == [7, None, time_of_id(uuid.UUID(TIMED))]
    assert not parsed.is_bounded


@pytest.mark.parametrize("key", [TIMED, TIMED.upper(), f'"{TIMED}"', f"urn:uuid:{TIMED}", TIMED.replace("-", "")])
def test_a_key_that_is_a_uuid_of_version_7_has_a_time(key: str) -> None:
    found = key_of([key], NOW_MS + 5)
    assert found is not None
    assert (found.time_ms, found.is_bounded) == (time_of_id(uuid.UUID(TIMED)), False)


@pytest.mark.parametrize("key", ["k", ID, "x" * 128, "urn:uuid:7", "!~"])
def test_another_key_has_the_time_now(key: str) -> None:
    found = key_of([key], NOW_MS)
    assert found is not None
    assert (found.time_ms, found.is_bounded) == (NOW_MS, True)


@pytest.mark.parametrize(
    "lines",
    [
        [""], [" "], ["a b"], ["é"], ["a\0"], ["x" * 129], ['"'], ['""'], ['"a'], ['a"b'], ["a", "a"], ["undefined"],
        ['"null"'], ["None"], [str(uuid.UUID(int=0))], [str(uuid.UUID(int=(1 << 128) - 1))],
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(lines: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        key_of(lines, NOW_MS)
    assert refused.value.status == 422
    assert HEADER in refused.value.error


def test_no_key_is_none() -> None:
    assert key_of([], NOW_MS) is None


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    return installed(monkeypatch)


def test_the_service_writes_a_body_that_is_sent_again_under_the_same_ids(writer: FakeWriter) -> None:
    client = ingest_client()
    sent = body({"video_id": "A"}, {"video_id": "A"}, {"video_id": ""})
    headers = {"content-type": "application/json", HEADER: "k"}
    first, again = (client.post("/v1/events", content=sent, headers=headers) for _ in range(2))
    assert first.json()["repeats"] == again.json()["repeats"] == "bounded"
    assert first.json()["accepted"] == again.json()["accepted"] == 2
    assert "event_ids" not in first.json()
    written = [{datum[:16] for _, _, datum in events_of(packed)} for packed in writer.written]
    assert len(written[0]) == 2
    assert written[0] == written[1] == {one.bytes for one in ids(sent, project="default")}
    timed = client.post("/v1/events", content=body({"video_id": "A", "event_id": None}), headers=headers | {HEADER: ID})
    assert timed.json()["repeats"] == "bounded"
    whole = body({"video_id": "A", "event_id": ID, "viewed_at": "2999-01-01T00:00:00Z"})
    refused = client.post("/v1/events", content=whole, headers=headers)
    assert (refused.status_code, "repeats" in refused.json()) == (400, False)
    assert client.post("/v1/events", content=sent, headers=headers | {HEADER: "null"}).status_code == 422
