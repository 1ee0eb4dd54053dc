"""Letters and plans as lines: JSON for programs, text for people."""

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
    """One line; what a fix may return and JSON does not know is text."""
    return json.dumps(value, default=lambda other: other.hex() if isinstance(other, bytes) else str(other))


def group_fields(group: Group) -> dict[str, Any]:
    """One line of `list`."""
    return {
        "kept": group.kept,
        "reason": group.reason,
        "hour": utc(group.hour * HOUR_MS),
        "letters": group.letters,
        "first": utc(group.first_ms),
        "last": utc(group.last_ms),
    }


def group_text(group: Group) -> str:
    """The same for people."""
    fields = group_fields(group)
    times = f"{fields['first']} to {fields['last']}"
    return f"{fields['hour']}  {group.letters:>9,}  {group.kept:<11}  {group.reason:<26}  {times}"


def _letter_fields(letter: Letter) -> dict[str, Any]:
    return {"kept": letter.kept, **asdict(letter.origin), "reason": letter.reason, "arrived": utc(letter.append_ms)}


def letter_fields(letter: Letter, events_topic: str) -> dict[str, Any]:
    """One line of `show`: the events as dicts, or all bytes in hex of what holds none that can be read."""
    events = events_in(letter, events_topic)
    if isinstance(events, str):
        return {**_letter_fields(letter), "hex": letter.payload.hex()}
    return {**_letter_fields(letter), "events": [fields_of(datum) for datum in events]}


def letter_text(letter: Letter, events_topic: str) -> str:
    """For people: a line, and one below it for each event, or the first bytes in hex."""
    events = events_in(letter, events_topic)
    lines = [_head(letter)]
    if isinstance(events, str):
        more = f" ... {len(letter.payload)} bytes" if len(letter.payload) > SHOWN_BYTES else ""
        lines.append(f"    {letter.payload[:SHOWN_BYTES].hex(' ', 4)}{more}")
    else:
        lines += [f"    {as_json(fields_of(datum))}" for datum in events]
    return "\n".join(lines)


def planned_fields(planned: Planned) -> dict[str, Any]:
    """One line of `resubmit`."""
    return {
        **_letter_fields(planned.letter),
        "action": planned.action,
        "note": planned.note,
        "changes": planned.changes,
        "event": planned.event,
    }


def planned_text(planned: Planned) -> str:
    """For people: what is done with the event, which one it is, and what changes."""
    lines = [f"{_head(planned.letter)}  {planned.action}: {planned.note}"]
    if planned.event is not None:
        lines.append(f"    {as_json(planned.event)}")
    lines += [f"    {name}: {as_json(old)} -> {as_json(new)}" for name, (old, new) in planned.changes.items()]
    return "\n".join(lines)


def _head(letter: Letter) -> str:
    return f"{utc(letter.append_ms)}  {letter.origin}  {letter.reason}"


def summary(planned: Iterable[Planned]) -> dict[str, int]:
    """How many events and records there are of each action."""
    counts = Counter(one.action for one in planned)
    return {action: counts[action] for action in Action}
