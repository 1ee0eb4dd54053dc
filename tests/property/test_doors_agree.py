"""Property: a time, an id or a number is the same, or refused, whichever door it comes through."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from schemas import event_ids, registry
from schemas.fields import EVENT_FIELDS
from schemas.limits import EVENT_ID_BYTES_MAX
from schemas.values import MAX_ID, NIL_ID, TIME_MIN_MS
from schemas.viewers import NO_VIEWERS, is_no_viewer
from services.ingest import events, packing
from services.parameters import ParameterError
from services.query.api.parameters import times
from tools import metadata
from udfs.logic.wire.single_events import FieldError, Origin, datum_of, packer_of

NOW_MS = 1_767_225_600_000
ID = "7f9c24e8-3b12-4fef-91e0-56a2d5a3f0b1"
PROJECT = "shop"
TERMS = events.Terms(PROJECT)
PACKER = packer_of("json", "singles", 4, 10, project=PROJECT)


def of_ingest(raw: bytes, *, lines: bool) -> dict[str, Any] | None:
    """What Kafka would get of an event in JSON."""
    parsed = (events.parse_ndjson if lines else events.parse_json)(raw if lines else b'{"events":[%b]}' % raw, TERMS)
    packed = packing.pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=1)
    assert len(parsed.rejected + packed.rejected) == 1 - packed.count
    if not packed.count:
        return None
    value = packing.batch_value(packed.blocks, 1, producer_id="p", salt=0, salts=1, now_ms=NOW_MS)
    return first_of(value)


def first_of(value: bytes) -> dict[str, Any]:
    """The fields of a batch's first event that a client may send. Doors may write different versions."""
    found = registry.decode(value)[1]["events"][0]
    return {name: found.get(name) for name in EVENT_FIELDS}


def of_pack(raw: bytes) -> dict[str, Any] | None:
    packed = PACKER.pack([raw], Origin([0], [0], [NOW_MS]), NOW_MS)
    if packed.refused:
        return None
    ((_, value, _),) = packed.batches
    return first_of(value)


def of_replay(raw: bytes) -> dict[str, Any] | None:
    """As a fix hands it over."""
    try:
        datum = datum_of(json.loads(raw), uuid.UUID(ID).bytes, NOW_MS, PROJECT)
    except FieldError:
        return None
    packed = packer_of("plain", "singles", 1, 10).pack([datum], Origin([0], [0], [NOW_MS]), NOW_MS)
    return first_of(packed.batches[0][1]) if packed.batches else None


def through_all(**fields: Any) -> dict[str, Any] | None:
    """The event that all doors make of it; they must agree."""
    return raw_through_all(json.dumps({"video_id": "A", **fields}).encode())


def raw_through_all(raw: bytes) -> dict[str, Any] | None:
    found = [of_ingest(raw, lines=False), of_ingest(raw, lines=True), of_pack(raw), of_replay(raw)]
    assert all(one == found[0] for one in found), found
    return found[0]


def time_through_all(text: str) -> datetime | None:
    event = through_all(event_id=ID, viewed_at=text)
    at = None if event is None else event["viewed_at"]
    line = {"video_id": "A", "title": "", "channel_id": "", "channel_name": "", "created_at": text}
    try:
        (known,) = metadata.read_lines([json.dumps(line).encode()])
        created = datetime.fromtimestamp(known.created_at / 1000, UTC) if isinstance(known.created_at, int) else None
    except metadata.BadLineError:
        created = None
    try:
        asked = times.instant("from", text)
    except ParameterError:
        asked = None
    # What was known long ago is no event's time.
    if created is None or times.EARLIEST <= created < times.LATEST:
        assert (created, asked) == (at, at)
    return at


@st.composite
def written_times(draw: st.DrawFn) -> tuple[str, datetime]:
    """A time of RFC 3339, and what it is when it is cut off to the millisecond."""
    offset = timezone(timedelta(minutes=draw(st.integers(-1439, 1439))))
    at = draw(st.datetimes(datetime(2000, 1, 3), datetime(2099, 12, 29))).replace(microsecond=0, tzinfo=offset)
    digits = draw(st.text("0123456789", max_size=12))
    text = at.isoformat(sep=draw(st.sampled_from("Tt")))
    day, end = text[:19], text[19:]
    if draw(st.booleans()):
        at = at.replace(tzinfo=UTC)
        end = draw(st.sampled_from("Zz"))
    ms = int((digits + "000")[:3])
    return f"{day}.{digits}{end}" if digits else day + end, at + timedelta(milliseconds=ms)


@given(written_times())
@example(("2026-01-01T23:59:59.9999999Z", datetime(2026, 1, 1, 23, 59, 59, 999_000, UTC)))
@example(("2026-01-01T12:00:59.9995z", datetime(2026, 1, 1, 12, 0, 59, 999_000, UTC)))
def test_a_time_is_cut_off_and_never_rounded(written: tuple[str, datetime]) -> None:
    text, at = written
    assert time_through_all(text) == at


@given(st.text("0123456789-:TtZzW+. ", max_size=32).filter(lambda t: not re.search(r"^\d+$| \d\d:?\d\d$", t)))
@example("2026-W01-4T12:00:00Z")
@example("20260101T120000Z")
@example("2026-01-01T12:00Z")
@example("2026-01-01T12:00:00")
@example("2026-01-01T12:00:00,5Z")
@example("2026-01-01T24:00:00Z")
@example("2026-02-30T12:00:00Z")
@example("٢٠٢٦-01-01T12:00:00Z")
@example("1999-12-31T23:59:59.999Z")
def test_what_is_no_time_is_none_anywhere(text: str) -> None:
    time_through_all(text)


@pytest.mark.parametrize(
    "text", ["2026-W01-4T12:00:00Z", "20260101T120000Z", "2026-01-01T12:00Z", "2026-01-01T12:00:00", "2026-01-01"]
)
def test_forms_that_only_python_takes_are_refused(text: str) -> None:
    assert time_through_all(text) is None


IDS = st.uuids().filter(lambda one: one.bytes not in {NIL_ID, MAX_ID} and one.version != 7)
FORMS = ("{}", "{{{}}}", "urn:uuid:{}", "URN:UUID:{}")


@given(IDS, st.sampled_from(FORMS), st.booleans(), st.booleans())
def test_an_id_is_the_same_in_every_form(identity: uuid.UUID, form: str, hexed: bool, upper: bool) -> None:
    text = identity.hex if hexed else str(identity)
    event = through_all(event_id=form.format(text.upper() if upper else text), viewed_at=NOW_MS)
    assert event is not None
    assert event["event_id"] == identity.bytes


@pytest.mark.parametrize("reserved", [NIL_ID, MAX_ID])
@pytest.mark.parametrize("form", FORMS)
def test_the_nil_and_the_max_uuid_are_refused(reserved: bytes, form: str) -> None:
    assert through_all(event_id=form.format(uuid.UUID(bytes=reserved)), viewed_at=NOW_MS) is None
    datum = reserved + datum_of({"video_id": "A", "event_id": ID, "viewed_at": NOW_MS}, b"", 0, PROJECT)[16:]
    ((_, reason),) = packer_of("plain", "t", 1, 9).pack([datum], Origin([0], [0], [0]), 0).refused
    assert reason.startswith("event_id: the nil UUID and the max UUID")


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "event_ids.json").read_text())


@pytest.mark.parametrize("one", GOLDEN, ids=range(len(GOLDEN)))
def test_a_text_is_the_same_id_for_good(one: dict[str, str]) -> None:
    assert str(event_ids.event_id(one["id"], one["project"], one["source"])) == one["event_id"]


def made_of(text: str) -> bytes:
    """By the words of the docs: UUIDv5 of project, NUL, source or nothing, NUL, id."""
    return uuid.uuid5(uuid.UUID("a3301fae-44a6-5d6e-800e-0ea24fcb9594"), f"{PROJECT}\0\0{text}").bytes


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=128).filter(lambda text: "\0" not in text))
@example("evt_1NG8Du2eZvKYlo2CUI79vXWy")
@example("0x7f9c24e83b124fef91e056a2d5a3f0b1")
@example("7f9c24e8_3b12_4fef_91e0_56a2d5a3f0b1")
@example(f"{{{{{ID}}}}}")
@example(f"{{{ID}")
@example(f"urn:uuid:{{{ID}}}")
@example(ID + " ")
@example("7f9c24e83b12-4fef-91e0-56a2d5a3f0b1")
@example("\u0667f9c24e8-3b12-4fef-91e0-56a2d5a3f0b1")
@example("01J00000000000000000000000")
@example("é" * 64)
def test_a_text_that_is_no_uuid_is_an_id_within_the_project(text: str) -> None:
    assume(not is_no_viewer(text) and len(text.encode()) <= EVENT_ID_BYTES_MAX)
    event = through_all(event_id=text, viewed_at=NOW_MS)
    assert event is not None
    assert event["event_id"] == made_of(text)
    assert through_all(event_id=text) is None, "an id that is text has no time"


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b", "x" * 129, "é" * 65, "undefined", "NULL", "None", "NaN", "[object Object]", "(null)"]
)
def test_a_text_that_can_be_no_id_is_refused(text: str) -> None:
    assert through_all(event_id=text, viewed_at=NOW_MS) is None


@pytest.mark.parametrize("viewer", [*NO_VIEWERS, "", "NULL", "NaN", "[object Object]"])
def test_a_viewer_who_is_none_is_left_out(viewer: str) -> None:
    event = through_all(event_id=ID, viewed_at=NOW_MS, viewer_id=viewer)
    assert event is not None
    assert event["viewer_id"] is None


def test_a_viewer_who_is_called_nearly_so_stays() -> None:
    event = through_all(event_id=ID, viewed_at=NOW_MS, viewer_id="undefined ")
    assert event is not None
    assert event["viewer_id"] == "undefined "


@pytest.mark.parametrize("raw", ["12", "1.5", "true", "[]", "{}", '"\\ud800"'])
def test_what_is_no_text_is_no_id(raw: str) -> None:
    assert raw_through_all(f'{{"video_id":"A","event_id":{raw},"viewed_at":{NOW_MS}}}'.encode()) is None


@pytest.mark.parametrize(
    "number", ["1767225600000.0", "1.7672256e12", "true", '"1767225600000"', "1767225600", "-1", "[]"]
)
def test_what_is_no_whole_number_of_milliseconds_is_refused(number: str) -> None:
    assert raw_through_all(f'{{"video_id":"A","event_id":"{ID}","viewed_at":{number}}}'.encode()) is None


@given(st.integers(-(1 << 70), 1 << 70) | st.integers(TIME_MIN_MS - 2, TIME_MIN_MS + 2))
def test_a_whole_number_is_the_same(at_ms: int) -> None:
    event = through_all(event_id=ID, viewed_at=at_ms)
    assert event is None or event["viewed_at"] == datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms)


@given(
    st.uuids(version=4) | st.integers(TIME_MIN_MS, NOW_MS).map(lambda ms: uuid.UUID(int=ms << 80 | 7 << 76 | 2 << 62))
)
def test_an_id_without_a_time_needs_to_hold_one(identity: uuid.UUID) -> None:
    event = through_all(event_id=str(identity))
    assert (event is None) == (identity.version != 7)
    if event is not None:
        assert event["viewed_at"] == datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=identity.int >> 80)


SPELT_OTHERWISE = ["eventId", "viewedAt", "Viewed-At", "VIDEO_ID", "viewer.id", *map(str.title, EVENT_FIELDS)]


@given(st.sampled_from([*SPELT_OTHERWISE, "deviceId", "position"]))
def test_a_field_that_is_spelt_otherwise_is_refused(name: str) -> None:
    raw = msgspec.json.encode({"video_id": "A", name: "x", "event_id": ID, "viewed_at": NOW_MS})
    assert (raw_through_all_but_replay(raw) is None) == (name in SPELT_OTHERWISE)


def raw_through_all_but_replay(raw: bytes) -> dict[str, Any] | None:
    """Replay has its fixes held to the fields' names before."""
    found = [of_ingest(raw, lines=False), of_ingest(raw, lines=True), of_pack(raw)]
    assert all(one == found[0] for one in found), found
    return found[0]
