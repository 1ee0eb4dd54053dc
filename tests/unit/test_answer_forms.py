"""In which form an answer is sent: JSON or CSV, packed or not, anew or 304; and how long it may be kept. No server."""

import asyncio
import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import msgspec
import pytest
from backports import zstd
from msgspec import Struct
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.negotiation import ENCODINGS, encoding_wanted, media_wanted
from services.openapi import CSV, JSON
from services.query import app as query_app
from services.query.api.answers.about import Waiting
from services.query.api.answers.batch import BatchViews, VideoTotals
from services.query.api.answers.kinds import KindViews
from services.query.api.answers.top import CountedVideo
from services.query.api.caching import is_closed, is_known
from services.query.api.csv_form import csv_bytes
from services.query.api.shown import Wanted, beside_rows, shown
from settings import AccessSettings, Settings
from tests.support.full_tables import HOUR, NOW, empty_history, full
from tests.support.keys import load_keys
from tests.support.tables import Tables

LOCAL = "http://localhost"
CLOSED = "/v1/videos/A/series?granularity=hour&from=2026-03-20T08:00:00Z&to=2026-03-20T12:00:00Z"
OPEN = "/v1/videos/A/series?granularity=hour&from=2026-03-20T08:00:00Z"
LONG = "/v1/videos/A/series?granularity=minute&from=2026-03-20T08:00:00Z&to=2026-03-20T12:00:00Z"
GROWING = ("view-counts-complete-through", "view-counts-arrivals-through")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return full(empty_history(tmp_path))


@pytest.fixture
def asked(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    public = query_app.build_service(Settings(), lambda: NOW).public
    # Without the header Accept-Encoding that a client has by default.
    return TestClient(public, base_url=LOCAL, headers={"Accept-Encoding": "identity"})


def rows(answer: httpx2.Response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.content.decode(), newline="")))


# --- kept, and asked for anew


def test_a_closed_range_is_asked_for_anew_and_not_sent_again(asked: TestClient) -> None:
    first = asked.get(CLOSED)
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["etag"].startswith('W/"')
    assert first.headers["vary"].startswith("Accept, Accept-Encoding, Authorization")
    for sent in (first.headers["etag"], f'"x", {first.headers["etag"]}', first.headers["etag"][2:], "*"):
        again = asked.get(CLOSED, headers={"If-None-Match": sent})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("etag", "cache-control", "vary", "view-counts-status", "view-counts-audit", *GROWING):
            assert again.headers[name] == first.headers[name]
    assert asked.get(CLOSED, headers={"If-None-Match": '"x"'}).content == first.content


def test_the_tag_of_a_closed_range_is_of_question_form_revision_and_numbers(
    asked: TestClient, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms: list[dict[str, str]] = [{}, {"Accept": CSV}, {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "zstd"}]
    tags = [asked.get(CLOSED, headers=form).headers["etag"] for form in forms]
    tags.append(asked.get(f"{CLOSED}&kind=like").headers["etag"])
    tags.append(asked.get(CLOSED.replace("/A/", "/B/")).headers["etag"])
    assert len(set(tags)) == len(tags)
    # Only the stream has gone on, so that the answer is known still, and says so.
    before = asked.get(CLOSED)

    async def later(_self: Tables) -> datetime:
        return NOW - timedelta(minutes=1)

    monkeypatch.setattr(Tables, "complete_through", later)
    again = asked.get(CLOSED, headers={"If-None-Match": before.headers["etag"]})
    assert again.status_code == 304
    assert again.headers[GROWING[0]] != before.headers[GROWING[0]]


def test_a_number_that_changes_within_a_revision_is_sent(asked: TestClient, tables: Tables) -> None:
    before = asked.get(CLOSED)
    minute = int((NOW - 5 * HOUR).timestamp()) // 60
    assert ("A", "view", minute) in tables._stream
    tables._rolled = {**tables._rolled, ("A", "view", minute): 1000}
    after = asked.get(CLOSED, headers={"If-None-Match": before.headers["etag"]})
    assert (after.status_code, "1000" in after.text) == (200, True)


def test_what_is_open_is_kept_for_a_second(asked: TestClient) -> None:
    for path in (OPEN, "/v1/videos/A/views", "/v1/top", "/v1/ledger", "/v1/audits"):
        first = asked.get(path)
        assert first.headers["cache-control"] == "private, max-age=1"
        assert first.headers["etag"].startswith('"')
        again = asked.get(path, headers={"If-None-Match": f"W/{first.headers['etag']}"})
        assert (again.status_code, again.headers["etag"]) == (304, first.headers["etag"])


class About(Struct):
    """What says how complete an answer is."""

    complete_through: str | None = "2026-03-20T12:00:00Z"
    waiting: Waiting | None = None
    degraded: list[str] | None = None


SPAN = datetime(2026, 3, 20, 8, tzinfo=UTC), datetime(2026, 3, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "ends", "is_so"),
    [
        (About(), SPAN[1], True),
        (About(), SPAN[1] + timedelta(seconds=1), False),
        (About(complete_through=None), SPAN[1], False),
        (About(waiting=Waiting(1, "2026-03-20T11:00:00Z")), SPAN[1], False),
        (About(degraded=["cassandra"]), SPAN[1], False),
    ],
)
def test_a_range_is_closed_if_it_is_complete_and_nothing_waits(answer: Struct, ends: datetime, is_so: bool) -> None:
    assert is_closed(answer, (SPAN[0], ends)) == is_so
    assert not is_closed(answer, None)


def test_what_is_degraded_is_kept_nowhere() -> None:
    one = asyncio.run(
        shown(About(degraded=["redis"]), "", Wanted(if_none_match="*"), question=b"", span=SPAN, is_public=True)
    )
    assert (one.status, one.headers["Cache-Control"], "ETag" in one.headers) == (200, "no-store", False)


@pytest.mark.parametrize(
    ("sent", "is_so"),
    [('"a"', True), ('W/"a"', True), ('"b", W/"a"', True), ("*", True), ("a", False), ("", False), ('"ab"', False)],
)
def test_tags_are_compared_as_weak_ones(sent: str, is_so: bool) -> None:
    assert is_known(sent, '"a"') == is_known(sent, 'W/"a"') == is_so


def test_head_is_get_without_content(asked: TestClient) -> None:
    get, head = asked.get(CLOSED), asked.head(CLOSED)
    assert (head.status_code, head.headers["etag"], head.headers["content-length"]) == (
        200,
        get.headers["etag"],
        get.headers["content-length"],
    )
    assert asked.head(CLOSED, headers={"If-None-Match": get.headers["etag"]}).status_code == 304


def test_an_answer_of_a_publishable_key_is_everybodys(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, public_text = new_key("pubread", "acme")
    public_key = msgspec.structs.replace(made, kinds=("*",), origins=("*",), video_id_prefix="*")
    secret_key, secret_text = new_key("read", "acme")
    change_keys(tmp_path / "keys.json", lambda _keys: (public_key, secret_key))
    monkeypatch.setattr(query_app, "CountStore", lambda *_: tables)
    access = AccessSettings(mode="keys", keys_file=str(tmp_path / "keys.json"))
    service = query_app.build_service(Settings(access=access), lambda: NOW)
    load_keys(service)
    client = TestClient(service.public, base_url=LOCAL)
    for text, said in ((public_text, "public, max-age=1"), (secret_text, "private, max-age=1")):
        answer = client.get("/v1/videos/A/views", headers={"Authorization": f"Bearer {text}"})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, said)
    assert client.get("/v1/videos/A/views").headers["cache-control"] == "no-store"


# --- packed


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("GZIP; Q=0.1", "gzip"),
        ("*", "zstd"),
        ("*;q=0, gzip", "gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0.5, identity", ""),
        ("gzip;q=x", ""),
        ("gzip;q=-1, zstd;q=2", ""),
        (";,;=", ""),
    ],
)
def test_the_encoding_is_the_one_that_is_wanted_most(header: str, encoding: str) -> None:
    assert encoding_wanted(header) == encoding


@pytest.mark.parametrize(
    ("header", "media"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        ("text/*", CSV),
        ("application/json;q=0.5, text/csv", CSV),
        ("text/csv;q=0.5, application/json", JSON),
        ("text/csv;q=0, */*", JSON),
        ("image/png", JSON),
        ("text/csv; charset=utf-8", CSV),
    ],
)
def test_the_type_is_the_one_that_is_wanted_most(header: str, media: str) -> None:
    assert media_wanted(header, (JSON, CSV)) == media


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("path", [LONG, f"{LONG.replace('2026-03-20T08', '2026-03-12T08')}"])
def test_a_long_answer_is_packed(asked: TestClient, encoding: str, path: str) -> None:
    plain = asked.get(path)
    with asked.stream("GET", path, headers={"Accept-Encoding": encoding}) as packed:
        body = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == encoding
    assert int(packed.headers["content-length"]) == len(body) < len(plain.content) / 4
    assert (gzip.decompress if encoding == "gzip" else zstd.decompress)(body) == plain.content


def test_a_short_answer_is_not_packed(asked: TestClient) -> None:
    answer = asked.get("/v1/videos/A/views", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert "content-encoding" not in asked.get("/v1/nothing", headers={"Accept-Encoding": "gzip"}).headers


# --- CSV


def test_a_series_is_a_table(asked: TestClient) -> None:
    answer = asked.get(CLOSED, headers={"Accept": CSV})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    header, *lines = rows(answer)
    points = asked.get(CLOSED).json()["points"]
    assert header[:2] == ["start", "views"]
    assert [line[:2] for line in lines] == [[one["start"], str(one["views"])] for one in points]
    assert answer.content.endswith(b"\r\n")
    assert answer.headers["view-counts-history-revision"] == "7"
    assert answer.headers["view-counts-late-through"].startswith('"2026')


@pytest.mark.parametrize(
    "path", ["/v1/top", "/v1/top?span=day", "/v1/ledger", "/v1/videos/A/views", "/v1/audits", "/v1/videos/A/viewers"]
)
def test_whatever_is_asked_can_be_a_table(asked: TestClient, path: str) -> None:
    header, *lines = rows(asked.get(path, headers={"Accept": CSV}))
    assert len(set(header)) == len(header) > 1
    assert all(len(line) == len(header) for line in lines)


def test_an_empty_list_has_its_header() -> None:
    assert csv_bytes(batch([]), "videos") == b"video_id,kind,views,imported,blocked,late_added\r\n"


def test_a_list_in_a_row_is_rows(asked: TestClient) -> None:
    body = {"video_ids": ["A", "=B"], "kind": ["view", "like"]}
    answer = asked.post("/v1/videos:batchGet", json=body, headers={"Accept": CSV})
    assert (answer.headers["cache-control"], "etag" in answer.headers) == ("no-store", False)
    assert [line[:2] for line in rows(answer)[1:]] == [["A", "view"], ["A", "like"], ["'=B", "view"], ["'=B", "like"]]


class Names(Struct):
    """A list."""

    videos: list[CountedVideo]


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-x", "@a", "\tx", "\r=1", "'a", "'=", "a,b", 'a"b', "a\nb", "é", "\0", " =1", "a=b"]
)
def test_no_name_is_a_formula_and_every_name_can_be_had_back(name: str) -> None:
    found = csv_bytes(Names([CountedVideo(name, -1)]), "videos")
    (_, (cell, views)) = csv.reader(io.StringIO(found.decode(), newline=""))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert (cell.removeprefix("'"), views) == (name, "-1")


def test_what_csv_has_no_place_for_stands_in_header_fields() -> None:
    class Missing(Struct):
        start: str | None
        end: str

    class Answer(Struct):
        points: list[CountedVideo]
        waiting: Waiting
        missing: list[Missing]

    answer = Answer(
        [], Waiting(3, "2026-03-20T11:00:00Z"), [Missing(None, "b"), *(Missing("a", "b") for _ in range(30))]
    )
    found = asyncio.run(shown(answer, "points", Wanted(CSV), question=b"", span=None, is_public=False)).headers
    assert found["View-Counts-Waiting"] == '3;since="2026-03-20T11:00:00Z"'
    assert found["View-Counts-Missing"].startswith('"../b", "a/b", ')
    assert found["View-Counts-Missing"].endswith(", 31")


def test_what_rows_do_not_show_as_lacking_stands_in_header_fields() -> None:
    class Index(Struct):
        complete: bool

    class Answer(Struct):
        points: list[CountedVideo]
        not_counted: list[str]
        kinds_left_out: dict[str, int] | int
        exact: bool
        index: Index

    def fields(answer: Struct) -> list[str | None]:
        found = asyncio.run(shown(answer, "points", Wanted(CSV), question=b"", span=None, is_public=False)).headers
        names = ("Not-Counted", "Kinds-Left-Out", "Exact", "Index-Complete")
        return [found.get(f"View-Counts-{name}") for name in names]

    days = ["2026-03-20", "2026-03-21"]
    lacking = fields(Answer([], days, {"A": 2, "B": 3}, exact=False, index=Index(complete=False)))
    assert lacking == ['"2026-03-20", "2026-03-21"', "5", "?0", "?0"]
    assert fields(Answer([], [], 0, exact=True, index=Index(complete=True))) == [None, "0", "?1", "?1"]
    assert not {*beside_rows(batch([]))} - {"View-Counts-History-Revision"}


def test_of_a_list_of_many_kinds_each_is_a_row() -> None:
    kinds = [KindViews("view", 1, 0, 0, 0), KindViews("like", 2, 0, 0, 1)]
    found = batch([VideoTotals("A", kinds)])
    assert csv_bytes(found, "videos").split(b"\r\n")[1:3] == [b"A,view,1,0,0,0", b"A,like,2,0,0,1"]


def batch(videos: list[VideoTotals]) -> BatchViews:
    return BatchViews(
        videos=videos,
        sum=None,
        complete_through=None,
        late_through=None,
        history_revision=1,
        missing=[],
        arrivals_through=None,
        waiting=None,
    )
