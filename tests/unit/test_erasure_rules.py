"""What an erasure makes of an event and of a record: a pseudonym in place of the viewer, and nothing that counts."""

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fastavro
import mmh3
import msgspec
import pyarrow as pa
import pytest

from schemas import registry
from schemas.limits import VIEWER_ID_BYTES_MAX
from schemas.varint import varint
from settings import CountingSettings
from settings.durations import DAY_MS
from udfs.logic.erasure.erasures import Eraser, Erasure, asked, closed, pseudonym
from udfs.logic.slices.audience import VIEWERS, viewer_hash
from udfs.logic.stream.dedup import SaltDedup, Verdict

NOW = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
DAY = NOW_MS // DAY_MS
REACH = timedelta(days=9)
RULES = CountingSettings()
SALT = 3
ID = "viewer-é"


def erasure(viewer_id: str = ID, *, blocked: bool = False, before: Erasure | None = None) -> Erasure:
    return asked(before, viewer_id, NOW, blocked=blocked, unlist=False, reach=REACH)


def event_ids() -> list[bytes]:
    """Of SALT."""
    numbers = (n.to_bytes(16, "big") for n in range(1, 2000))
    return [one for one in numbers if mmh3.hash(one, 0, signed=False) % RULES.salts == SALT]


IDS = event_ids()


def event(n: int, viewer_id: str | None = ID, **others: Any) -> dict[str, Any]:
    return {"event_id": IDS[n], "video_id": "v", "viewed_at": NOW_MS, "kind": "view", "viewer_id": viewer_id, **others}


def batch(*events: dict[str, Any], salt: int = SALT, salts: int = RULES.salts) -> bytes:
    header = {"batch_id": bytes(16), "producer_id": "p", "salt": salt, "salts": salts, "produced_at": NOW_MS}
    return registry.encode("ViewBatch", {**header, "events": list(events)})


def events_of(value: bytes) -> list[dict[str, Any]]:
    return registry.decode(value)[1]["events"]  # type: ignore[no-any-return]


def erased(value: bytes, of: Erasure, ids: tuple[str, ...] = (), record_ms: int = NOW_MS) -> bytes:
    found = Eraser([of], ids).erase_from(SALT.to_bytes(4, "big"), value, record_ms)
    assert found is not None
    assert found.value is not None
    return found.value


def test_a_pseudonym_is_of_one_video_and_day_and_of_one_erasure() -> None:
    one, other = erasure(), erasure()
    assert pseudonym(one, b"v", 5) == pseudonym(one, b"v", 5)
    names = {pseudonym(of, video, day) for of in (one, other) for video in (b"v", b"w") for day in (5, 6, -1)}
    assert len(names) == 12
    assert all(len(name.encode()) <= VIEWER_ID_BYTES_MAX for name in names)
    blocked = erasure(blocked=True)
    assert pseudonym(blocked, b"v", 5) == pseudonym(blocked, b"w", 6)


def test_only_the_viewer_changes_and_what_nothing_counts_goes() -> None:
    of = erasure()
    events = [
        event(0, country="DE", device="tv"),
        event(1, "viewer", country="FR", device="tv"),
        event(2, country="Deutschland", device=None),
        event(3, video_id="w", country="", device=""),
        event(4, None, country=None),
        event(5, viewed_at=NOW_MS - DAY_MS, kind="like", country="fr"),
    ]
    value = batch(*events)
    found = Eraser([of]).erase_from(None, value, NOW_MS)
    assert found is not None
    assert found.value is not None
    assert found.events == {viewer_hash(ID).hex(): 4}
    assert not found.emptied
    want = events_of(value)
    for n, video, day, country in (
        (0, b"v", DAY, "DE"),
        (2, b"v", DAY, None),
        (3, b"w", DAY, None),
        (5, b"v", DAY - 1, "fr"),
    ):
        want[n] |= {"viewer_id": pseudonym(of, video, day), "country": country, "device": None}
    assert events_of(found.value) == want
    assert ID.encode() not in found.value
    # The same header, and again nothing is found.
    assert found.value[:40] == value[:40]
    assert Eraser([of]).erase_from(None, found.value, NOW_MS) is None


def test_blocks_of_an_array_keep_their_counts_and_get_their_sizes() -> None:
    """An array may come in several blocks, and a block may say its size (Avro 1.12, "Arrays")."""
    of = erasure()
    events = [event(n, ID if n in (1, 4) else "other") for n in range(6)]

    def datum(one: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, registry.schema("ViewEvent"), one)
        return out.getvalue()

    head = batch()[:-1]
    sized = b"".join(map(datum, events[:3]))
    plain = b"".join(map(datum, events[3:5]))
    untouched = datum(events[5])
    value = b"".join(
        [
            head,
            varint(-3),
            varint(len(sized)),
            sized,
            varint(2),
            plain,
            varint(-1),
            varint(len(untouched)),
            untouched,
            b"\0",
        ]
    )
    assert events_of(value) == events_of(batch(*events))
    new = erased(value, of)
    want = events_of(value)
    for n in (1, 4):
        want[n]["viewer_id"] = pseudonym(of, b"v", DAY)
    assert events_of(new) == want
    assert new.startswith(head + varint(-3))
    assert new.endswith(varint(-1) + varint(len(untouched)) + untouched + b"\0")
    # The kernels, which trust no size, read it too.
    assert SaltDedup(SALT, RULES).judge(new, NOW_MS, SALT).dead == []


def test_a_text_that_is_no_utf_8_stays_a_fault() -> None:
    good = batch(event(0, device="\x7f\x7f"), event(1))
    value = good.replace(b"\x7f\x7f", b"\xff\xfe")
    verdicts = [SaltDedup(SALT, RULES).judge(of, NOW_MS, SALT).verdicts for of in (value, erased(value, erasure()))]
    for found in verdicts:
        assert found is not None
        assert found.tolist() == [Verdict.DEAD_LETTERED, Verdict.COUNTED]
    assert b"\xff\xfe" not in erased(value, erasure())


def test_what_cannot_be_read_is_emptied_if_the_id_stands_in_it() -> None:
    of = erasure()
    whole = batch(event(0))
    for value in (whole[:-1], b"\xc3\x02" + whole[2:], ID.encode(), batch(event(0), salts=-1)):
        assert Eraser([of]).erase_from(None, value, NOW_MS) is None
        found = Eraser([of], [ID]).erase_from(None, value, NOW_MS)
        assert found is not None
        assert (found.value, found.emptied, found.events.total()) == (b"", True, 0)
        outcomes = [SaltDedup(SALT, RULES).judge(one, NOW_MS, SALT) for one in (value, b"")]
        assert all(len(outcome.dead) == 1 and outcome.dead[0].index == -1 for outcome in outcomes)
    assert Eraser([of], [ID]).erase_from(None, b"other", NOW_MS) is None
    assert Eraser([of], [ID]).erase_from(b"\0\0\0\1", None, NOW_MS) is None


def test_a_record_under_a_wrong_salt_is_read_and_a_key_that_names_the_viewer_goes() -> None:
    of = erasure()
    for value in (batch(event(0), salt=SALT + 1), batch(event(0), salts=4)):
        assert events_of(erased(value, of))[0]["viewer_id"] == pseudonym(of, b"v", DAY)
    found = Eraser([of], [ID]).erase_from(f"{ID}-1".encode(), None, NOW_MS)
    assert found is not None
    assert (found.key, found.value) == (None, None)


def test_days_up_to_the_one_after_are_erased_and_what_had_arrived_before_it() -> None:
    of = erasure()
    assert of.last_day == date(2026, 2, 1)
    assert of.closes_at == datetime(2026, 2, 2, tzinfo=UTC) + REACH
    tomorrow, then = (DAY + 1) * DAY_MS, (DAY + 2) * DAY_MS
    eraser = Eraser([of])
    for viewed_at, record_ms, is_erased in (
        (-(1 << 62), NOW_MS, True),
        (then - 1, then + DAY_MS, True),
        # Of that day the viewer is not the erasure's any more, but for what was dated wrong and had arrived.
        (then, then - 1, False),
        (then, tomorrow - 1, True),
        ((1 << 63) - 1, NOW_MS, True),
    ):
        found = eraser.erase_from(None, batch(event(0, viewed_at=viewed_at)), record_ms)
        assert (found is not None) == is_erased, viewed_at


def test_pseudonyms_stay_as_long_as_an_erasure_is_open_and_then_nobody_knows_them() -> None:
    first = msgspec.structs.replace(erasure(blocked=True), events=3)
    again = asked(first, ID, NOW + timedelta(days=2), blocked=False, unlist=True, reach=REACH)
    assert again.key == first.key
    assert (again.blocked, again.unlist, again.events) == (True, True, 3)
    assert again.last_day == first.last_day + timedelta(days=2)
    done = closed(again)
    assert not done.is_open
    assert Eraser([done]).erase_from(None, batch(event(0)), NOW_MS) is None
    new = erasure(before=done)
    assert new.is_open
    assert new.key != first.key
    assert (new.blocked, new.events) == (False, 3)
    assert msgspec.json.decode(msgspec.json.encode(new), type=Erasure) == new


def test_rows_of_slices_get_the_hash_of_the_pseudonym() -> None:
    one, other = erasure(), erasure("other")
    rows = [
        {
            "shard": 0,
            "hour": 0,
            "kind": "view",
            "video_id": video,
            "minute": minute,
            "viewer": viewer_hash(who),
            "views": n,
        }
        for n, (video, minute, who) in enumerate(
            [
                ("v", DAY * 1440, ID),
                ("v", DAY * 1440 + 1439, ID),
                ("v", DAY * 1440 - 1, ID),
                ("w", DAY * 1440, "other"),
                ("w", DAY * 1440, "somebody"),
                ("w", (DAY + 2) * 1440, ID),
            ]
        )
    ]
    table = pa.Table.from_pylist(rows, VIEWERS)
    # As a part of a longer table too.
    for given, offset in ((table, 0), (table.slice(1), 1)):
        found, numbers = Eraser([one, other]).viewers(given)
        assert found.schema == table.schema
        assert numbers == {viewer_hash(ID).hex(): 3 - offset, viewer_hash("other").hex(): 1}
        want = [
            viewer_hash(pseudonym(one, b"v", DAY)),
            viewer_hash(pseudonym(one, b"v", DAY)),
            viewer_hash(pseudonym(one, b"v", DAY - 1)),
            viewer_hash(pseudonym(other, b"w", DAY)),
            viewer_hash("somebody"),
            viewer_hash(ID),
        ]
        assert found["viewer"].to_pylist() == want[offset:]
        assert found.drop_columns(["viewer"]).equals(given.drop_columns(["viewer"]))
    nobody, none = Eraser([]).viewers(table)
    assert nobody is table
    assert not none
    assert Eraser([one]).viewers(table.slice(0, 0))[1] == {}


@pytest.mark.parametrize("field", ["key", "viewer"])
def test_the_list_does_not_name_the_viewer(field: str) -> None:
    assert ID not in str(getattr(erasure(), field))
    assert ID.encode() not in msgspec.json.encode(erasure())
