"""Reads, chooses and groups letters: late events, dead letters, and records of diverted keys. Knows no Kafka."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from schemas import registry
from settings.durations import HOUR_MS
from udfs.logic.wire.keyed_records import read_whole

# The topic in which a letter is.
Kept = Literal["late", "dead-letter", "diverted"]
# The reason of what a diverted key has written: nobody has judged it.
DIVERTED: Final = "diverted"
NO_LETTER = "not_of_this_topic"
_SCHEMA = "RejectedEvents"


@dataclass(frozen=True, order=True, slots=True)
class Origin:
    """The place in its first topic of an event that was not counted, or of a whole record if the index is -1."""

    topic: str
    partition: int
    offset: int
    index: int

    def __str__(self) -> str:
        whole = f"{self.topic}/{self.partition}@{self.offset}"
        return whole if self.index < 0 else f"{whole}#{self.index}"


@dataclass(frozen=True)
class Letter:
    """One event or record that was not counted, with the reason and its bytes. `append_ms` is its append time."""

    kept: Kept
    origin: Origin
    reason: str
    append_ms: int
    payload: bytes


def read_letters(kept: Kept, value: bytes, origin: Origin) -> list[Letter]:
    """The letters in a record's value. Never raises.

    If the value has none, the record itself becomes a letter; `origin` is the record's place.
    """
    record: Any = None
    prefix = registry.prefix(_SCHEMA)
    if value[: len(prefix)] == prefix:
        # A decoder may raise anything for bytes that are not what their prefix says.
        with contextlib.suppress(Exception):
            record = read_whole(registry.numeric_schema(_SCHEMA), value[len(prefix) :])
    if record is None:
        return [Letter(kept, origin, NO_LETTER, 0, value)]
    place = record["topic"], record["partition"], record["offset"]
    return [
        Letter(kept, Origin(*place, event["index"]), event["reason"], record["append_at"], event["payload"])
        for event in record["events"]
    ]


def diverted_letter(value: bytes, origin: Origin, append_ms: int) -> Letter:
    """The letter of a record that a diverted key has written: a batch as in the events topic."""
    return Letter(DIVERTED, origin, DIVERTED, append_ms, value)


@dataclass(frozen=True)
class Choice:
    """Which letters are chosen: by topic, by reason (none means any), and by the time of arrival."""

    kept: frozenset[Kept] = frozenset(("late", "dead-letter"))
    reasons: frozenset[str] = frozenset()
    from_ms: int | None = None
    to_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is chosen."""
        return (
            letter.kept in self.kept
            and (not self.reasons or letter.reason in self.reasons)
            and (self.from_ms is None or letter.append_ms >= self.from_ms)
            and (self.to_ms is None or letter.append_ms < self.to_ms)
        )


def chosen(letters: Iterable[Letter], choice: Choice, limit: int | None = None) -> list[Letter]:
    """The first `limit` letters of the choice, each origin once, in the order of arrival."""
    by_origin = {letter.origin: letter for letter in letters if choice.takes(letter)}
    return sorted(by_origin.values(), key=lambda letter: (letter.append_ms, letter.origin))[:limit]


class Group(NamedTuple):
    """How many letters of one topic and reason arrived in an hour (since 1970), and when the first and last did."""

    kept: Kept
    reason: str
    hour: int
    letters: int
    first_ms: int
    last_ms: int


def groups(letters: Iterable[Letter]) -> Iterator[Group]:
    """The letters grouped by topic, reason and hour of arrival, in this order."""
    times: dict[tuple[Kept, str, int], list[int]] = {}
    for letter in letters:
        times.setdefault((letter.kept, letter.reason, letter.append_ms // HOUR_MS), []).append(letter.append_ms)
    for key, mine in sorted(times.items()):
        yield Group(*key, len(mine), min(mine), max(mine))
