"""Property: what the kernel makes of a body is what the parsers and the packing in Python make of it."""

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.values import TIME_END_MS, TIME_MIN_MS
from schemas.viewers import NO_VIEWERS
from services.ingest.packing import Reach
from services.ingest.rejections import rejection
from services.ingest.routes import NDJSON
from services.ingest.taking import Packing, read
from services.openapi import JSON
from tests.support.both_ways import ALWAYS, KEYED, NOW_MS, SALTS, TERMS, datums, same, taken
from udfs.logic.wire.event_bodies import Bounds, read_json

ID = "7f9c24e8-3b12-4fef-91e0-56a2d5a3f0b1"


def left(body: bytes, *, is_lines: bool = False) -> list[int] | None:
    """The events that the kernel leaves to Python; None if it leaves all."""
    read = read_json(body, Bounds(NOW_MS, TIME_MIN_MS, TIME_END_MS), SALTS, is_lines=is_lines)
    return None if read is None else read.left


TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc", "Cs"]))


def text(bytes_max: int, *, least: int = 0) -> st.SearchStrategy[str]:
    return TEXT.filter(lambda one: least <= len(one.encode()) <= bytes_max)


@st.composite
def written_times(draw: st.DrawFn) -> str:
    """A time of RFC 3339 in the years 2000 to 2099."""
    at = draw(st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30)))
    offset = draw(st.integers(-1439, 1439))
    zone = timezone(timedelta(minutes=offset))
    whole = at.replace(microsecond=0, tzinfo=zone).isoformat(sep=draw(st.sampled_from("Tt ")))
    digits = draw(st.text("0123456789", max_size=10))
    end = draw(st.sampled_from(("Z", "z", whole[19:], whole[19:].replace(":", ""))))
    return whole[:19] + (f".{digits}" if digits else "") + end


IDS = st.uuids(version=4).flatmap(lambda one: st.sampled_from((str(one), one.hex, str(one).upper())))
IDS_WITH_TIME = st.integers(TIME_MIN_MS, NOW_MS).map(lambda ms: str(uuid.UUID(int=ms << 80 | 7 << 76 | 2 << 62 | 1)))
TIMES = st.integers(TIME_MIN_MS, TIME_END_MS - 1) | written_times()
NO_COLON = text(32, least=1).filter(lambda one: ":" not in one)
# Viewers who are none, and some who are called nearly so.
NOBODY = st.sampled_from([*NO_VIEWERS, "", "UNDEFINED", "NaN", "[object Object]", "undefined ", "nul", "nulls"])
COMMON = st.fixed_dictionaries(
    {"video_id": text(64, least=1)},
    optional={
        "kind": NO_COLON | st.just("view"),
        "viewer_id": text(64) | st.none() | NOBODY,
        "country": text(64) | st.none(),
        "device": text(64) | st.none(),
    },
).flatmap(
    lambda fields: st.one_of(
        st.just({}),
        st.just({"event_id": None, "viewed_at": None}),
        st.fixed_dictionaries({"viewed_at": TIMES}),
        st.fixed_dictionaries({"event_id": IDS_WITH_TIME}),
        st.fixed_dictionaries({"event_id": IDS, "viewed_at": TIMES}),
    ).flatmap(lambda more: st.permutations([*fields.items(), *more.items()]).map(dict))
)
ANY_VALUE: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("", "a", "x" * 65, "é" * 33, 'a"b', "a\\b", "a\nb", "\x7f", "blocked:view", "canary:a", "\ud800", ID),
        *(f"{{{ID}}}", f"urn:uuid:{ID}", "0" * 32, "f" * 32, ID.replace("-", "_"), ID[:-1], ID + "0", "1767225600000"),
        *("2026-02-29T00:00:00Z", "2024-02-29T23:59:59.9999999Z", "1999-12-31T23:59:59-00:01", "2100-01-01T00:00:00Z"),
        *("2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00"),
        *("2026-01-01T00:00:00.Z", "2026-13-01T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-01T00:00:00+0160"),
        *(None, True, 0, -1, 1767225600, 1.5, 1767225600000.0, 1767225600000, 1 << 62, 1 << 70, [], {}, {"a": ["}"]}),
    ]
)
NAMES = st.sampled_from(
    ["event_id", "video_id", "viewed_at", "kind", "viewer_id", "country", "device", "other", "viewedAt", "video_ie", ""]
)
ODD = st.builds(lambda fields, more: fields | more, COMMON, st.dictionaries(NAMES, ANY_VALUE, max_size=2))
EVENTS = st.lists(COMMON | COMMON | ODD, max_size=5)
SPACE = st.sampled_from(["", "", " ", "\t", "\r"])


RESTS = st.sampled_from(
    [
        *("}", "}", ',"sent_at":1767225600000}', ', "sent_at" : "2026-01-01T00:00:00Z" }', ',"sent_at":null}'),
        *(',"sent_at":"soon","more":[{"event":1}]}', ',"sent_at":"\\n"}'),
    ]
)


@st.composite
def bodies(draw: st.DrawFn, events: st.SearchStrategy[list[dict[str, Any]]]) -> tuple[str, bytes]:
    """A media type and a body of it."""
    comma, colon = draw(SPACE), draw(SPACE)
    is_ascii = draw(st.integers(0, 9)) == 0
    texts = [
        json.dumps(one, ensure_ascii=is_ascii, separators=(f"{comma},{colon}", f"{colon}:{comma}"))
        for one in draw(events)
    ]
    if draw(st.booleans()):
        return NDJSON, draw(SPACE).join(["", *(f"{one}\n" for one in texts), ""]).encode("utf-8", "surrogatepass")
    around = draw(SPACE)
    inner = f"{around},{around}\n".join(texts)
    rest = draw(RESTS)
    return JSON, f'{around}{{{around}"events"{around}:[{around}{inner}]{rest}{around}'.encode("utf-8", "surrogatepass")


@given(bodies(EVENTS), st.none() | st.builds(Reach, st.integers(0, 1 << 40), st.integers(0, 1 << 40)))
def test_a_body_is_the_same_with_and_without_the_kernel(sent: tuple[str, bytes], reach: Reach | None) -> None:
    same(*sent, reach)


@given(bodies(EVENTS), st.none() | st.builds(Reach, st.integers(0, 1 << 40), st.integers(0, 1 << 40)))
def test_a_body_with_an_idempotency_key_is_the_same_with_and_without_the_kernel(
    sent: tuple[str, bytes], reach: Reach | None
) -> None:
    same(*sent, reach, KEYED)


WITH_IDS = st.fixed_dictionaries({"video_id": text(64, least=1), "event_id": IDS, "viewed_at": TIMES})


@given(bodies(st.lists(WITH_IDS, min_size=1, max_size=5)))
def test_the_kernel_takes_events_with_ids_though_the_body_has_an_idempotency_key(sent: tuple[str, bytes]) -> None:
    media, body = sent
    reading = read(media, body, KEYED, Packing(NOW_MS, SALTS), unpacked_bytes_max=1 << 20, kernel_bytes_min=ALWAYS)
    if b"\\" not in body:
        assert reading.rows is not None
        assert reading.rows.left == []


@given(bodies(st.lists(COMMON, min_size=1, max_size=5)))
def test_the_kernel_takes_every_event_in_a_common_form(sent: tuple[str, bytes]) -> None:
    media, body = sent
    if b"\\" not in body:
        assert left(body, is_lines=media == NDJSON) == []
    assert len(same(media, body)[0]) >= 1


BYTES = st.sampled_from(b'"\\{}[],:. \n\r\t\x00\x0c\x1f\x80\xc3\xff0129aTZn-+e')
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["put", "cut", "change", "end"]), BYTES),
    min_size=1,
    max_size=3,
)


@given(bodies(EVENTS), CHANGES)
def test_a_body_with_wrong_bytes_is_the_same_too(
    sent: tuple[str, bytes], changes: list[tuple[float, str, int]]
) -> None:
    media, body = sent
    changed = bytearray(body)
    for place, what, octet in changes:
        at = int(place * len(changed))
        if what == "end":
            del changed[at:]
        else:
            changed[at : at + (what != "put")] = b"" if what == "cut" else bytes([octet])
    same(media, bytes(changed))


@given(st.binary(max_size=64) | st.text('{}[]":,\\ \nev nts_id', max_size=64).map(str.encode))
@example(b"")
@example(b'{"events":[')
@example(b'{"events":[{"video_id":"A"}]')
@example(b'{"events":[{"video_id":"A"},]}')
@example(b'{"events":[{"video_id":"A"}],}')
@example(b'{"events":[{"video_id":"A"}]')
@example(b'{"events":[{"video_id":"A"}],"\\u0065vents":[]}')
@example(b'{"events":[{"video_id":"A"}],"sent_at":1767225600000}')
@example(b'{"events":[{"video_id":"A"},{"video_id":"\xff"}],"sent_at":1767225600000}')
@example(b'{"events":[{"video_id":"A"}],"sent_at":"\xff"}')
@example(b'{"events":[{"video_id":"A"}]}x')
@example(b'{"events":[{"video_id":"A"}],"more":1}')
@example(b'{"events":[{"video_id":"A"}],"events":[]}')
@example(b'{"events":[{"video_id":"A"},{"video_id":"B","x":}]}')
@example(b'{"events":[{"video_id":"A"},{"x":[1}]}')
@example(b'{"video_id":"A"} {"video_id":"B"}\n')
@example(b'{"video_id":"A","x":\n{"video_id":"B"}\n}')
@example(b'\x0c\n{"video_id":"A"}')
@example(b'{"video_id":"A"}\n\n \r\n{"video_id":"B","x":1}\n')
@example(b'{"video_id":"A"}\n {"video_id":\\"B"} \n')
@example(b'{"video_id":"A"}\n{"video_id":"B"\xff} ')
def test_any_bytes_are_the_same(body: bytes) -> None:
    same(JSON, body)
    same(NDJSON, body)


@given(written_times(), st.integers(-2, 2))
@example("2000-02-29T00:00:00+23:59", 0)
@example("2099-12-31T23:59:59.999Z", 0)
@example("2000-01-01T00:00:00Z", -1)
def test_a_time_at_the_edge_of_the_reach_is_the_same(written: str, beside_ms: int) -> None:
    at_ms = (datetime.fromisoformat(written.upper()) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    reach = Reach(max(NOW_MS - at_ms + beside_ms, 0), max(at_ms - NOW_MS + beside_ms, 0), 600_000)
    found = same(JSON, json.dumps({"events": [{"video_id": "A", "viewed_at": written}]}).encode(), reach)
    assert len(found[0]) == (beside_ms >= 0 or at_ms == NOW_MS) or not TIME_MIN_MS <= at_ms < TIME_END_MS


def test_every_day_of_the_century_is_the_same() -> None:
    days = (datetime(2000, 1, 1) + timedelta(days=n) for n in range(36_525))
    texts = [f"{day:%Y-%m-%d}T00:00:00Z" for day in days]
    body = json.dumps({"events": [{"video_id": "A", "viewed_at": one} for one in texts]}).encode()
    assert left(body) == []
    made = same(JSON, body)[1]
    assert [at_ms for _, at_ms in made] == [TIME_MIN_MS + n * 86_400_000 for n in range(36_525)]


def test_a_bad_event_among_good_ones_is_rejected_alone() -> None:
    events = [{"video_id": "A"}, {"video_id": 1}, {"video_id": "B", "note": 1}, {"video_id": "\n"}, {"video_id": "C"}]
    body = json.dumps({"events": events}).encode()
    assert left(body) == [1, 2, 3]
    found = taken(JSON, body, ALWAYS)
    assert not isinstance(found, str)
    result, ignored, readable, _ = found
    assert datums(result.packed).keys() == {0, 2, 3, 4}
    assert result.packed.rejected == [rejection(1, "video_id", 1, "Expected `str`, got `int`")]
    assert (ignored, readable) == (["note"], 4)


@pytest.mark.parametrize(
    "body", ['"events":[{"video_id":"A"}],"sent_at":%d', '"sent_at":%d,"events":[{"video_id":"A"}]']
)
def test_when_a_body_was_sent_is_read_beside_its_events(body: str) -> None:
    data = f"{{{body % NOW_MS}}}".encode()
    reading = read(JSON, data, TERMS, Packing(NOW_MS, SALTS), unpacked_bytes_max=1 << 20, kernel_bytes_min=ALWAYS)
    assert (reading.parsed.sent_at_ms, reading.total) == (NOW_MS, 1)
