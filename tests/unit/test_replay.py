"""Replay: which letters are chosen, what a fix may do, and what is said to become of each event."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from schemas import registry
from schemas.view_records import event_tail
from settings import CountingSettings, HistorySettings, Settings
from tools.replay import commands, shown, topics
from tools.replay.events import events_in, fields_of
from tools.replay.fixes import Fix, FixError, load_fix
from tools.replay.letters import NO_LETTER, Choice, Letter, Origin, chosen, groups, read_letters
from tools.replay.plan import ADDS, COUNTS, Action, Planned, Planner
from udfs.logic.stream.dedup import Rejected
from udfs.logic.stream.rejected import PAYLOAD_BYTES_MAX
from udfs.logic.stream.rejected import letters as rejected_events
from udfs.logic.wire.single_events import datum_of, id_of_place, topic_mark

SALTS = 4
NOW_MS = 1_767_225_600_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SETTINGS = Settings(
    counting=CountingSettings(salts=SALTS, max_parallelism=4, shards=2), history=HistorySettings(late_hours=48)
)
EVENTS = SETTINGS.kafka.events_topic
ORIGIN = Origin(EVENTS, 1, 42, 0)


def identity(n: int) -> bytes:
    return uuid.UUID(int=n + 1).bytes


def event(n: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.UUID(int=n + 1)), "video_id": "v", "viewed_at": NOW_MS - MINUTE_MS, "kind": "view",
        "viewer_id": None, "country": None, "device": None, **more,
    }  # fmt: skip


def datum(n: int = 0, **more: Any) -> bytes:
    return datum_of(event(n, **more), b"", 0, "shop")


def sent(n: int = 0, *, project: str | None = None, **more: Any) -> bytes:
    """What replay sends of such an event."""
    return datum(n, **more) + event_tail(project=project)


def letter(
    payload: bytes, reason: str = "video_id_empty", *, origin: Origin = ORIGIN, kept: Any = "dead-letter"
) -> Letter:
    return Letter(kept, origin, reason, NOW_MS - HOUR_MS, payload)


def whole(payload: bytes, reason: str = "truncated", topic: str = EVENTS) -> Letter:
    return letter(payload, reason, origin=Origin(topic, 1, 42, -1))


def batch(events: list[dict[str, Any]], salt: int = 0, salts: int = SALTS) -> bytes:
    listed = [{**one, "event_id": uuid.UUID(one["event_id"]).bytes} for one in events]
    value = {
        "batch_id": bytes(16), "producer_id": "test", "salt": salt, "salts": salts, "produced_at": 0, "events": listed,
    }  # fmt: skip
    return registry.encode("ViewBatch", value)


def changes(**fields: Any) -> Fix:
    """A fix that gives an event these fields."""

    def fix(one: dict[str, Any] | bytes, _: Letter) -> dict[str, Any]:
        assert isinstance(one, dict)
        return {**one, **fields}

    return fix


def plan(*letters: Letter, fix: Fix | None = None, late_as_is: bool = False) -> list[Planned]:
    return list(Planner(SETTINGS, NOW_MS, fix=fix, late_as_is=late_as_is).plan(letters))


def only(*letters: Letter, fix: Fix | None = None, late_as_is: bool = False) -> Planned:
    (found,) = plan(*letters, fix=fix, late_as_is=late_as_is)
    assert bool(found.datum) == (found.action in {Action.AS_IS, Action.CHANGED})
    return found


# --- letters


def rejected(*events: tuple[int, str, bytes], offset: int = 7, append_ms: int = NOW_MS) -> bytes:
    return registry.encode(
        "RejectedEvents",
        {
            "topic": EVENTS,
            "partition": 3,
            "offset": offset,
            "batch_id": None,
            "append_at": append_ms,
            "events": [{"index": index, "reason": reason, "payload": payload} for index, reason, payload in events],
        },
    )


def test_letters_are_those_of_the_record() -> None:
    own = Origin("view-events-late", 0, 1, -1)
    value = rejected((0, "late", b"a"), (2, "late", b"b"))
    assert read_letters("late", value, own) == [
        Letter("late", Origin(EVENTS, 3, 7, 0), "late", NOW_MS, b"a"),
        Letter("late", Origin(EVENTS, 3, 7, 2), "late", NOW_MS, b"b"),
    ]
    # A time that no calendar holds.
    assert read_letters("late", rejected((0, "late", b"a"), append_ms=2**62), own)[0].append_ms == 2**62
    for bad in (b"", b"hello", value[:-1], value + b"x", registry.prefix("RejectedEvents") + b"\xff" * 20):
        assert read_letters("late", bad, own) == [Letter("late", own, NO_LETTER, 0, bad)]


def test_repeats_are_dropped_and_the_order_is_that_of_arrival() -> None:
    values = [rejected((0, "late", b"b"), offset=2, append_ms=5), rejected((0, "late", b"a"), offset=9, append_ms=4)]
    read = [one for value in [*values, values[0]] for one in read_letters("late", value, ORIGIN)]
    assert [one.payload for one in chosen(read, Choice())] == [b"a", b"b"]
    assert [one.payload for one in chosen(reversed(read), Choice(), 1)] == [b"a"]


def test_letters_of_one_record_are_replayed_as_one_and_what_is_cut_is_shown() -> None:
    late_of_record = [Rejected(n, "video_id_empty", datum(n)) for n in range(6)]
    huge = Rejected(6, "late", datum(6, device="d" * (PAYLOAD_BYTES_MAX + 1)))
    # As one delivery cuts them and, after a restart, another.
    values = [
        value
        for cut in ([late_of_record[:4], [*late_of_record[4:], huge]], [[one] for one in (*late_of_record, huge)])
        for some in cut
        for value in rejected_events(EVENTS, 3, 7, NOW_MS - HOUR_MS, None, some)
    ]
    found = chosen((one for value in values for one in read_letters("dead-letter", value, ORIGIN)), Choice())
    assert [one.origin for one in found] == [Origin(EVENTS, 3, 7, n) for n in range(7)]
    planned = plan(*found)
    assert [one.action for one in planned] == [Action.AS_IS] * 6 + [Action.INVALID]
    assert len({one.datum for one in planned[:6]}) == 6
    assert planned[6].note.startswith("first ")
    assert shown.letter_text(found[6], EVENTS).count("\n") == 1


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (Choice(), [0, 1, 2, 3]),
        (Choice(kept=frozenset(("late",))), [0, 3]),
        (Choice(reasons=frozenset(("truncated", "other"))), [1]),
        (Choice(from_ms=NOW_MS + HOUR_MS), [1, 2, 3]),
        (Choice(to_ms=NOW_MS + HOUR_MS), [0]),
        (Choice(frozenset(("dead-letter",)), frozenset(("kind_empty",)), NOW_MS + HOUR_MS, NOW_MS + 3 * HOUR_MS), [2]),
    ],
)
def test_letters_are_chosen_by_topic_reason_and_arrival(choice: Choice, numbers: list[int]) -> None:
    kinds: list[tuple[Any, str]] = [
        ("late", "late"), ("dead-letter", "truncated"), ("dead-letter", "kind_empty"), ("late", "late"),
    ]  # fmt: skip
    letters = [
        Letter(kept, Origin(EVENTS, 0, n, 0), reason, NOW_MS + n * HOUR_MS, b"")
        for n, (kept, reason) in enumerate(kinds)
    ]
    assert [one.origin.offset for one in chosen(letters, choice)] == numbers


def test_letters_are_counted_by_topic_reason_and_hour() -> None:
    times = [0, 5, HOUR_MS - 1, HOUR_MS]
    letters = [Letter("late", Origin(EVENTS, 0, n, 0), "late", NOW_MS + at, b"") for n, at in enumerate(times)]
    found = list(groups([letters[3], *letters[:3]]))
    assert [(group.letters, group.first_ms - NOW_MS, group.last_ms - NOW_MS) for group in found] == [
        (3, 0, HOUR_MS - 1),
        (1, HOUR_MS, HOUR_MS),
    ]
    assert shown.group_fields(found[1])["hour"] == "2026-01-01T01:00:00Z"


# --- what is in them


def test_a_record_is_read_whatever_salt_it_bears() -> None:
    for value in (batch([event(1), event(2)]), batch([event(1), event(2)], salt=77, salts=99)):
        assert events_in(whole(value), EVENTS) == [datum(1), datum(2)]
    assert events_in(whole(batch([])), EVENTS) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "unknown_schema"),
        (b"hello", "unknown_schema"),
        (registry.prefix("ViewBatch"), "truncated"),
        (batch([event()])[:-3], "truncated"),
        (batch([event()], salts=0), "salts_differ_from_topic"),
        (batch([event()], salt=-1), "salt_differs_from_key"),
        (batch([event()]) + b"x", "bytes_after_end"),
    ],
)
def test_a_record_that_is_none_says_why(value: bytes, reason: str) -> None:
    assert events_in(whole(value), EVENTS) == reason
    found = only(whole(value))
    assert (found.action, found.note) == (Action.INVALID, f"{reason}: only a fix can make events of its bytes")


def test_fields_are_those_of_the_datum_even_without_utf8() -> None:
    every = event(5, viewer_id="w", country="NO", device="tv", viewed_at=2**62)
    assert fields_of(datum_of(every, b"", 0, "shop")) == every
    assert fields_of(datum(video_id="abc").replace(b"abc", b"a\xffc"))["video_id"] == "a\udcffc"


def test_lines_are_json_or_text() -> None:
    readable, unreadable = letter(datum(video_id="")), whole(b"\0" * 100, "unknown_schema")
    assert shown.letter_fields(readable, EVENTS) == {
        "kept": "dead-letter", "topic": EVENTS, "partition": 1, "offset": 42, "index": 0, "reason": "video_id_empty",
        "arrived": "2025-12-31T23:00:00Z", "events": [event(video_id="")],
    }  # fmt: skip
    assert shown.letter_fields(unreadable, EVENTS)["hex"] == "00" * 100
    assert shown.letter_text(readable, EVENTS).startswith(
        '2025-12-31T23:00:00Z  view-events/1@42#0  video_id_empty\n    {"event_id": "00000000-'
    )
    assert shown.letter_text(unreadable, EVENTS).endswith(" 00000000 ... 100 bytes")
    found = only(readable, fix=changes(video_id="w"))
    assert shown.planned_text(found).endswith('\n    video_id: "" -> "w"')
    assert shown.planned_fields(found)["changes"] == {"video_id": ("", "w")}
    assert shown.summary([found]) == {"as is": 0, "changed": 1, "left out": 0, "still invalid": 0}


# --- what becomes of them


def test_what_is_well_is_sent_as_it_is() -> None:
    found = only(letter(datum(), "wrong_salt"))
    assert (found.action, found.note, found.datum, found.changes) == (Action.AS_IS, COUNTS, sent(), {})
    # A whole record, of a schema that the code now knows or under a wrong key.
    both = plan(whole(batch([event(1), event(2, kind="")], salt=9), "unknown_schema"))
    assert [(one.action, one.datum) for one in both] == [(Action.AS_IS, sent(1)), (Action.INVALID, b"")]


def test_an_event_keeps_what_version_2_says_of_it_also_when_a_fix_changes_it() -> None:
    added = event_tail(agent="browser", exclusion="office", project="shop")
    assert only(letter(datum() + added, "wrong_salt")).datum == datum() + added
    found = only(letter(datum(video_id="") + added), fix=changes(video_id="w"))
    assert found.datum == datum(video_id="w") + added
    ((_, value, _),) = topics.batches(SETTINGS, [found.datum], NOW_MS)
    _, batch = registry.decode(value)
    assert (batch["origin"], batch["acknowledged"], batch["producer_id"]) == ("replay", None, "replay")
    assert [(one["video_id"], one["agent"], one["project"]) for one in batch["events"]] == [("w", "browser", "shop")]


def test_an_event_that_a_fix_makes_of_bytes_is_of_the_project_of_events_without_a_key() -> None:
    found = only(whole(b"bytes"), fix=lambda _bytes, _letter: event())
    assert found.datum == sent(project=SETTINGS.access.project)


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"video_id": ""}, "video_id_empty"),
        ({"video_id": "v" * 65}, "video_id_too_long"),
        ({"kind": "blocked:view"}, "kind_reserved"),
        ({"viewed_at": NOW_MS + 2 * MINUTE_MS}, "viewed_at_in_the_future"),
    ],
)
def test_what_would_be_a_dead_letter_again_is_not_sent(fields: dict[str, Any], note: str) -> None:
    found = only(letter(datum(**fields)))
    assert (found.action, found.note) == (Action.INVALID, note)


def test_what_the_fix_leaves_as_it_was_without_utf8_is_still_invalid() -> None:
    bad = letter(datum(video_id="abc").replace(b"abc", b"a\xffc"), "video_id_not_utf8")
    assert only(bad, fix=lambda one, _: one).note == "video_id_not_utf8"
    found = only(bad, fix=changes(kind="like"))
    assert (found.action, found.note) == (Action.INVALID, "video_id: half a surrogate pair, which is no text")

    def as_latin(one: dict[str, Any] | bytes, _: Letter) -> dict[str, Any]:
        assert isinstance(one, dict)
        return {**one, "video_id": one["video_id"].encode(errors="surrogateescape").decode("latin")}

    latin = only(bad, fix=as_latin)
    assert latin.changes == {"video_id": ("a\udcffc", "aÿc")}


def test_dead_letters_that_are_late_by_now_are_added_until_they_are_too_old() -> None:
    late = NOW_MS - HOUR_MS
    assert only(letter(datum(viewed_at=late), "wrong_salt")).note == ADDS
    assert only(letter(datum(viewed_at=NOW_MS - 48 * HOUR_MS), "wrong_salt")).note == ADDS
    old = only(letter(datum(viewed_at=NOW_MS - 48 * HOUR_MS - 1), "wrong_salt"))
    assert (old.action, old.note[:8], "history.late_hours=48" in old.note) == (Action.LEFT_OUT, "too old:", True)


def test_late_events_are_left_to_the_rollup_whatever_a_fix_changes() -> None:
    late = letter(datum(viewed_at=NOW_MS - HOUR_MS), "late", kept="late")
    for found in (only(late), only(late, fix=changes(video_id="other"))):
        assert (found.action, "already" in found.note) == (Action.LEFT_OUT, True)
    # Unless the archive lost them; as a repeat of what it has, this changes nothing.
    assert (only(late, late_as_is=True).action, only(late, late_as_is=True).note) == (Action.AS_IS, ADDS)


def test_an_event_is_sent_once_however_many_letters_hold_it() -> None:
    letters = [letter(datum(), "wrong_salt", origin=Origin(EVENTS, 1, n, 0)) for n in range(3)]
    assert [one.action for one in plan(*letters)] == [Action.AS_IS, Action.LEFT_OUT, Action.LEFT_OUT]
    # One that is not sent stands in nobody's way.
    bad = letter(datum(video_id=""))
    assert [one.action for one in plan(bad, letters[0])] == [Action.INVALID, Action.AS_IS]


def test_records_of_other_topics_are_no_events() -> None:
    kafka = SETTINGS.kafka
    for topic in (kafka.metadata_topic, kafka.blocked_topic):
        found = only(whole(b"x", "unreadable", topic), fix=lambda one, _: event())
        assert (found.action, f"a record of {topic} is no event (unreadable)" in found.note) == (Action.LEFT_OUT, True)


# --- fixes


def test_a_fix_changes_an_event_and_the_dry_run_says_how() -> None:
    bad = letter(datum(video_id="", kind=""))

    def fix(one: dict[str, Any] | bytes, about: Letter) -> dict[str, Any]:
        assert isinstance(one, dict)
        return {**one, "video_id": "w", "kind": about.reason[:5]}

    found = only(bad, fix=fix)
    assert (found.action, found.note) == (Action.CHANGED, COUNTS)
    assert found.changes == {"video_id": ("", "w"), "kind": ("", "video")}
    assert found.datum == sent(video_id="w", kind="video")

    # The id and the time may be left away, and the event may be changed in place.
    def in_place(one: Any, _: Letter) -> Any:
        del one["event_id"], one["viewed_at"]
        one["video_id"] = "w"
        return [one]

    assert only(letter(datum(video_id="")), fix=in_place).datum == sent(video_id="w")
    assert only(bad, fix=lambda *_: None).note == "the fix leaves it out"
    assert only(bad, fix=changes(video_id=7)).note == "video_id=7: must be text"


def test_a_fix_may_make_events_of_bytes() -> None:
    bad = whole(b'{"video": "w"}', "unknown_schema")

    def fix(value: dict[str, Any] | bytes, _: Letter) -> dict[str, Any]:
        assert isinstance(value, bytes)
        return {"video_id": value.decode()[11:12]}

    made = only(bad, fix=fix)
    own = str(uuid.UUID(bytes=id_of_place(topic_mark(EVENTS), 1, 42)))
    assert made.event == event(event_id=own, video_id="w", viewed_at=bad.append_ms)
    assert made.changes["event_id"] == (None, own)
    assert (made.action, made.note) == (Action.CHANGED, ADDS)
    two = plan(bad, fix=lambda *_: [event(1), event(2), event(1), {"video_id": None}])
    assert [one.action for one in two] == [Action.CHANGED, Action.CHANGED, Action.LEFT_OUT, Action.INVALID]
    timeless = only(bad, fix=lambda *_: {**event(), "viewed_at": None})
    assert (timeless.action, timeless.note) == (
        Action.INVALID,
        "viewed_at: missing: an event with an id needs its time, unless the id is a UUIDv7",
    )
    assert [one.note for one in plan(bad, fix=lambda *_: [])] == ["the fix leaves it out"]


def test_a_fix_may_not_make_another_event() -> None:
    other = str(uuid.UUID(int=99))
    with pytest.raises(
        FixError, match=rf"view-events/1@42#0: the fix changes event_id=0.*1 to {other}: with another id"
    ):
        plan(letter(datum(video_id="")), fix=changes(event_id=other))
    with pytest.raises(FixError, match=r"the fix made 2 events of the one with event_id="):
        plan(letter(datum()), fix=lambda one, _: [one, one])


@pytest.mark.parametrize("viewed_at", [946_684_800_000, NOW_MS - HOUR_MS, NOW_MS, NOW_MS + 720 * HOUR_MS])
def test_a_time_under_which_it_may_have_counted_stays(viewed_at: int) -> None:
    for kept in ("late", "dead-letter"):
        with pytest.raises(
            FixError, match=rf"the fix changes viewed_at={viewed_at} to {NOW_MS - 7}: .*Only a time before 2000"
        ):
            plan(letter(datum(viewed_at=viewed_at), kept=kept), fix=changes(viewed_at=NOW_MS - 7))


@pytest.mark.parametrize("viewed_at", [NOW_MS // 1000, 946_684_799_999, NOW_MS + 720 * HOUR_MS + 1, NOW_MS * 1000])
def test_a_time_under_which_nothing_counted_may_be_mended(viewed_at: int) -> None:
    for kept in ("late", "dead-letter"):
        found = only(letter(datum(viewed_at=viewed_at), kept=kept), fix=changes(viewed_at=NOW_MS - 7))
        assert (found.action, found.note, found.datum) == (Action.CHANGED, COUNTS, sent(viewed_at=NOW_MS - 7))


def test_a_fix_that_cannot_be_trusted_is_refused() -> None:
    bad = letter(datum(video_id=""))
    calls = iter(range(99))

    def changeable(one: dict[str, Any] | bytes, letter: Letter) -> Any:
        return changes(video_id=str(next(calls)))(one, letter)

    def mistaken(one: dict[str, Any] | bytes, _: Letter) -> Any:
        assert isinstance(one, dict)
        return one["views"]

    with pytest.raises(FixError, match="returns something else when it is called again"):
        plan(bad, fix=changeable)
    with pytest.raises(FixError, match=r"view-events/1@42#0: the fix raised KeyError: 'views'"):
        plan(bad, fix=mistaken)
    with pytest.raises(FixError, match="returned 7: return a dict, a list of dicts or None"):
        plan(bad, fix=lambda *_: 7)
    with pytest.raises(FixError, match="returned video: an event has event_id, video_id"):
        plan(bad, fix=changes(video="w"))


def test_a_fix_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_fixes.py").write_text("HELLO = 1\ndef mend(event, letter):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_fix("my_own_fixes:mend")({}, letter(b"")) is None
    for name, text in (
        ("my_own_fixes", "name it as module:function"),
        ("my_own_fixes:", "name it as module:function"),
        ("my_own_fixes:HELLO", "HELLO is not a function"),
        ("my_own_fixes:nothing", "AttributeError"),
        ("no_such_module:mend", "ModuleNotFoundError"),
    ):
        with pytest.raises(FixError, match=f"--fix {name}: .*{text}"):
            load_fix(name)


# --- the commands


def test_a_dry_run_says_it_all_and_sends_nothing() -> None:
    # No Kafka answers here.
    fixable, late = letter(datum(video_id="")), letter(datum(1, viewed_at=NOW_MS), "late", kept="late")
    lines = list(
        commands.resubmit_lines([fixable, late], SETTINGS, fix=None, late_as_is=False, send=False, as_json=True)
    )
    assert [json.loads(line)["action"] for line in lines[:2]] == ["still invalid", "left out"]
    done = json.loads(lines[-1])
    assert (done["dry_run"], done["sent_events"], done["left out"], done["still invalid"]) == (True, 0, 1, 1)
    text = list(commands.show_lines([fixable], SETTINGS, as_json=False))
    assert text == [shown.letter_text(fixable, EVENTS)]
    (line,) = commands.list_lines([fixable, fixable], as_json=False)
    assert line.split()[:4] == ["2025-12-31T23:00:00Z", "2", "dead-letter", "video_id_empty"]


def test_the_fix_in_the_docs_mends_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "replay.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    for fields, reason in (
        ({"kind": "blocked:view"}, "kind_reserved"),
        ({"viewed_at": event()["viewed_at"] * 1000}, "viewed_at_in_the_future"),
        ({"viewed_at": event()["viewed_at"] // 1000}, "late"),
    ):
        found = only(letter(datum(**fields), reason), fix=names["mend"])
        assert (found.action, found.note, found.datum) == (Action.CHANGED, COUNTS, sent())
    assert only(whole(b"x"), fix=names["mend"]).action == Action.LEFT_OUT
