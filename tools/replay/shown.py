"""Shows letters and plans as lines: JSON for programs, text for people."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from settings.durations import HOUR_MS
from tools.replay.events import events_in, fields_of
from tools.replay.letters import Group, Letter
from tools.replay.plan import Action, Planned
from tools.times import utc

SHOWN_BYTES = 64


def as_json(value: object) -> str:
    """One line of JSON. A value of a fix that JSON does not know becomes text."""
    return json.dumps(value, default=lambda other: other.hex() if isinstance(other, bytes) else str(other))


def group_fields(group: Group) -> dict[str, Any]:
    """The fields of one line of `list`."""
    return {
        "kept": group.kept,
        "reason": group.reason,
        "hour": utc(group.hour * HOUR_MS),
        "letters": group.letters,
        "first": utc(group.first_ms),
        "last": utc(group.last_ms),
    }


def group_text(group: Group) -> str:
    """One line of `list` for people."""
    fields = group_fields(group)
    times = f"{fields['first']} to {fields['last']}"
    return f"{fields['hour']}  {group.letters:>9,}  {group.kept:<11}  {group.reason:<26}  {times}"


def _letter_fields(letter: Letter) -> dict[str, Any]:
    return {"kept": letter.kept, **asdict(letter.origin), "reason": letter.reason, "arrived": utc(letter.append_ms)}


def letter_fields(letter: Letter, events_topic: str) -> dict[str, Any]:
    """The fields of one line of `show`, with the events as dicts, or all bytes in hex if none can be read."""
    events = events_in(letter, events_topic)
    if isinstance(events, str):
        return {**_letter_fields(letter), "hex": letter.payload.hex()}
    return {**_letter_fields(letter), "events": [fields_of(datum) for datum in events]}


def letter_text(letter: Letter, events_topic: str) -> str:
    """A letter of `show` for people: a line, and below it a line for each event, or the first bytes in hex."""
    events = events_in(letter, events_topic)
    lines = [_head(letter)]
    if isinstance(events, str):
        more = f" ... {len(letter.payload)} bytes" if len(letter.payload) > SHOWN_BYTES else ""
        lines.append(f"    {letter.payload[:SHOWN_BYTES].hex(' ', 4)}{more}")
    else:
        lines += [f"    {as_json(fields_of(datum))}" for datum in events]
    return "\n".join(lines)


def planned_fields(planned: Planned) -> dict[str, Any]:
    """The fields of one line of `resubmit`."""
    return {
        **_letter_fields(planned.letter),
        "action": planned.action,
        "note": planned.note,
        "changes": planned.changes,
        "event": planned.event,
    }


def planned_text(planned: Planned) -> str:
    """An event of `resubmit` for people: what is done with it, its fields, and what changes."""
    lines = [f"{_head(planned.letter)}  {planned.action}: {planned.note}"]
    if planned.event is not None:
        lines.append(f"    {as_json(planned.event)}")
    lines += [f"    {name}: {as_json(old)} -> {as_json(new)}" for name, (old, new) in planned.changes.items()]
    return "\n".join(lines)


def _head(letter: Letter) -> str:
    return f"{utc(letter.append_ms)}  {letter.origin}  {letter.reason}"


def summary(planned: Iterable[Planned]) -> dict[str, int]:
    """How many events and records have each action."""
    counts = Counter(one.action for one in planned)
    return {action: counts[action] for action in Action}
