"""Predicts, event by event, what resending letters would do, by the count job's own rules. The time is an argument.

No event can count twice: it keeps its id, and it keeps its `viewed_at`, unless nothing can have counted it with that
time. If it is sent again within the generation, it is a duplicate. If it is sent later, it is late, and the rollup adds
each id and time once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schemas.topics import REJECTED_RETENTION_MS
from schemas.values import TIME_MIN_MS
from schemas.view_records import event_tail
from settings import Settings
from settings.durations import HOUR_MS
from tools.replay.events import events_in, fields_of, parted
from tools.replay.fixes import Fix, FixError, mended
from tools.replay.letters import Letter
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.wire.single_events import FieldError, Origin, Packer, datum_of, id_of_place, topic_mark

COUNTS = "the stream counts it, unless it knows its id"
ADDS = "late: the rollup adds it once, unless it was counted or added before"


class Action(StrEnum):
    """What replay does with an event or record."""

    AS_IS = "as is"
    CHANGED = "changed"
    LEFT_OUT = "left out"
    INVALID = "still invalid"


@dataclass(frozen=True)
class Planned:
    """The plan for one event, or for a record without events.

    `note` says what its fate will be, or why it is not sent. `changes` are the fields that differ, as (old, new); for
    an event that a fix made of bytes these are all fields. `datum` is the event in Avro that is sent, in version
    2 and with what it has of that; it is empty if nothing is sent.
    """

    letter: Letter
    action: Action
    note: str
    event: dict[str, Any] | None = None
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    datum: bytes = b""


class Planner:
    """Plans one replay at `now_ms`. With `late_as_is` it also sends late events that the rollup adds anyway."""

    def __init__(self, settings: Settings, now_ms: int, *, fix: Fix | None = None, late_as_is: bool = False) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._fix = fix
        self._late_as_is = late_as_is
        self._packer = Packer(settings.counting.salts, 1, has_tails=True)
        self._project = settings.access.project
        self._tail = event_tail(project=self._project)
        self._late_ms_max = settings.history.late_hours * HOUR_MS
        self._planned: set[bytes] = set()

    def plan(self, letters: Iterable[Letter]) -> Iterator[Planned]:
        """The plan for each event of each letter, in their order. If it raises FixError, send nothing."""
        for letter in letters:
            yield from self._letter(letter)

    def _letter(self, letter: Letter) -> Iterator[Planned]:
        kafka = self._settings.kafka
        if letter.origin.topic in (kafka.metadata_topic, kafka.blocked_topic):
            note = f"a record of {letter.origin.topic} is no event ({letter.reason}): write it there again, corrected"
            yield Planned(letter, Action.LEFT_OUT, note)
            return
        events = events_in(letter, kafka.events_topic)
        if isinstance(events, list):
            for datum in events:
                yield self._event(letter, datum)
        elif self._fix is None:
            yield Planned(letter, Action.INVALID, f"{events}: only a fix can make events of its bytes")
        else:
            yield from self._from_bytes(letter, mended(self._fix, letter.payload, letter))

    def _event(self, letter: Letter, datum: bytes) -> Planned:
        """The plan for an event that could be read."""
        first, tail = parted(datum)
        datum = first + tail
        before = fields_of(first)
        if self._fix is None:
            return self._judged(letter, before, datum, {})
        found = mended(self._fix, before, letter)
        if not found:
            return Planned(letter, Action.LEFT_OUT, "the fix leaves it out", before)
        if len(found) > 1:
            raise FixError(
                f"{letter.origin}: the fix made {len(found)} events of the one with event_id={before['event_id']}, of "
                "which one can count; return one"
            )
        if found[0] == before:
            return self._judged(letter, before, datum, {})
        try:
            fixed = datum_of(found[0], datum[:16], before["viewed_at"], self._project, same_event=True)
        except FieldError as error:
            return Planned(letter, Action.INVALID, str(error), found[0])
        after = fields_of(fixed)
        changes = {name: (old, after[name]) for name, old in before.items() if after[name] != old}
        self._check(letter, changes)
        return self._judged(letter, after, fixed + tail, changes)

    def _from_bytes(self, letter: Letter, found: list[dict[str, Any]]) -> Iterator[Planned]:
        """The plan for events that a fix made of bytes.

        Like packed events, they are of the settings' project, and one without id and time gets an id from the record's
        place and its time of arrival.
        """
        if not found:
            yield Planned(letter, Action.LEFT_OUT, "the fix leaves it out")
        own_id = id_of_place(topic_mark(letter.origin.topic), letter.origin.partition, letter.origin.offset)
        for fields in found:
            try:
                datum = datum_of(fields, own_id, letter.append_ms, self._project)
            except FieldError as error:
                yield Planned(letter, Action.INVALID, str(error), fields)
                continue
            event = fields_of(datum)
            yield self._judged(
                letter, event, datum + self._tail, {name: (None, value) for name, value in event.items()}
            )

    def _check(self, letter: Letter, changes: dict[str, tuple[Any, Any]]) -> None:
        """Raise FixError if a fix changes what identifies the event, so that the event could count twice."""
        if "event_id" in changes:
            old, new = changes["event_id"]
            raise FixError(
                f"{letter.origin}: the fix changes event_id={old} to {new}: with another id the event could count "
                "twice. Return the id unchanged, or leave it out"
            )
        if "viewed_at" in changes:
            old, new = changes["viewed_at"]
            # No event is ever counted with a time before 2000. An event that is less than 30 days ahead can be sent
            # unchanged once its time has come, since the letter is kept so long.
            if TIME_MIN_MS <= old <= self._now_ms + REJECTED_RETENTION_MS:
                raise FixError(
                    f"{letter.origin}: the fix changes viewed_at={old} to {new}: the event may have been counted or "
                    "added with the old time, or may be later, and would count again with the new one. Only a time "
                    "before 2000 or more than 30 days ahead may change. Return viewed_at unchanged, or None in place "
                    "of the event"
                )

    def _judged(
        self, letter: Letter, event: dict[str, Any], datum: bytes, changes: dict[str, tuple[Any, Any]]
    ) -> Planned:
        """The plan for an event, by what the job and the rollup would do with it now."""
        reason, is_late = self._verdict(datum)
        viewed_ms = event["viewed_at"]
        if reason is not None:
            return Planned(letter, Action.INVALID, reason, event, changes)
        if is_late and self._now_ms - viewed_ms > self._late_ms_max:
            hours = self._settings.history.late_hours
            note = f"too old: viewed_at={viewed_ms} is more than history.late_hours={hours} ago, nothing would count it"
            return Planned(letter, Action.LEFT_OUT, note, event, changes)
        if letter.kept == "late" and "viewed_at" not in changes and not self._late_as_is:
            note = "late: the rollup adds the event from the archive already, and under its id and time no other"
            return Planned(letter, Action.LEFT_OUT, note, event, changes)
        if datum[:16] in self._planned:
            return Planned(letter, Action.LEFT_OUT, "a repeat, by its id, of an event above", event, changes)
        self._planned.add(datum[:16])
        action = Action.CHANGED if changes else Action.AS_IS
        return Planned(letter, action, ADDS if is_late else COUNTS, event, changes, datum)

    def _verdict(self, datum: bytes) -> tuple[str | None, bool]:
        """(the reason if it would be a dead letter, whether it would be late), by dedup rules without seen ids."""
        packed = self._packer.pack([datum], Origin([0], [0], [0]), self._now_ms)
        if packed.refused:
            return packed.refused[0][1], False
        ((salt, value, _),) = packed.batches
        outcome = SaltDedup(salt, self._settings.counting).judge(value, self._now_ms, salt)
        return (outcome.dead[0].reason if outcome.dead else None), bool(outcome.late)
