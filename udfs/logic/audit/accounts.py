"""Accounts of events: the stream's ledger against the tallies of slices, and those of producers. Pure.

A row of the ledger is of a minute of arrival and a salt; a slice's tally is the same, from the archive. Which minutes
can be judged follows from the slices that are kept: a run of slices, each of which begins where the one before it ends.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.ledger import LEDGER_COLUMNS as FATES
from settings.durations import MINUTES_PER_HOUR
from udfs.logic.history.manifest import SliceInfo

EQUAL, UNKNOWN, WRONG = "equal", "unknown", "wrong"
# (minute of arrival since 1970, salt)
Place = tuple[int, int]
Fates = tuple[int, ...]
_NOTHING: Fates = (0,) * len(FATES)


class WrongAccount(NamedTuple):
    """A row of the ledger that does not say what the archive does; nothing is there where `before` is None."""

    minute: int
    salt: int
    before: Fates | None
    after: Fates


def partition_of(salt: int, partitions: int) -> int:
    """Whose records a salt's are. Records without a salt of their partition have its number, from -1 down."""
    return -1 - salt if salt < 0 else salt % partitions


class Run:
    """Slices of one partition that follow one another, with what their tallies say together."""

    def __init__(self, slices: Sequence[SliceInfo]) -> None:
        self.tallies: dict[Place, Fates] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        for info in slices:
            for salt, tallies in info.tallies.items():
                for minute, *fates in tallies:
                    # A minute that goes on in the next slice is whole there.
                    # Slices of before a column was there say nothing of it.
                    self.tallies[minute, salt] = (*fates, *_NOTHING[len(fates) :])
                    self._first[salt] = min(minute, self._first.get(salt, minute))
                    self._last[salt] = max(minute, self._last.get(salt, minute))
        begins = slices[0].first_offset == 0
        self._first_minute = (slices[0].hour + (0 if begins else 1)) * MINUTES_PER_HOUR
        self._end_minute = slices[-1].hour * MINUTES_PER_HOUR

    def tells_of(self, minute: int, salt: int) -> bool:
        """Whether all of a minute lies in these slices. It is over for a salt when that has records of a later one."""
        first = min(self._first_minute, self._first.get(salt, self._first_minute))
        end = max(self._end_minute, self._last.get(salt, self._end_minute))
        return first <= minute < end


def runs_of(slices: Iterable[SliceInfo]) -> list[Run]:
    """All runs of the slices of one partition."""
    found: list[list[SliceInfo]] = []
    for info in sorted(slices, key=lambda one: (one.first_offset, one.next_offset)):
        if found and found[-1][-1].next_offset == info.first_offset:
            found[-1].append(info)
        else:
            found.append([info])
    return [Run(one) for one in found]


def compare_ledger(
    slices: Iterable[SliceInfo],
    rows: Mapping[Place, Fates],
    *,
    first_minute: int,
    end_minute: int,
    gap_hours: Collection[int] = (),
) -> tuple[int, list[WrongAccount]]:
    """One partition: (rows that were judged, those that are wrong), from the first minute to before the end.

    Of hours of arrival in `gap_hours` the archive lacks records, or may judge them otherwise than the stream did.
    """
    runs, gaps = runs_of(slices), set(gap_hours)
    right: dict[Place, Fates] = {}
    for run in runs:
        right |= {place: fates for place, fates in run.tallies.items() if run.tells_of(*place)}
    compared, wrong = 0, []
    for place in sorted({*right, *rows}):
        minute, salt = place
        if not first_minute <= minute < end_minute or minute // MINUTES_PER_HOUR in gaps:
            continue
        if not any(run.tells_of(minute, salt) for run in runs):
            continue
        compared += 1
        before, after = rows.get(place), right.get(place, _NOTHING)
        if (before or _NOTHING) != after:
            wrong.append(WrongAccount(minute, salt, before, after))
    return compared, wrong


class Amount(NamedTuple):
    """Of a minute: events and records."""

    events: int
    records: int


class ProducerTally(msgspec.Struct, frozen=True):
    """What one process of ingest says that Kafka has acknowledged to it, by minute of arrival."""

    producer_id: str
    minutes: dict[int, Amount]


class ProducersVerdict(NamedTuple):
    """Of one minute: what the ledger has received, and what producers that can be asked have had acknowledged.

    Equal: nobody else wrote. Unknown: somebody else did, who was killed since, cannot be asked or is no ingest, or an
    acknowledgement was lost. Wrong: the ledger lacks what Kafka has acknowledged.
    """

    minute: int
    verdict: str
    received: Amount
    acknowledged: Amount


def compare_producers(
    received: Mapping[int, Amount], producers: Iterable[ProducerTally], minutes: Iterable[int]
) -> list[ProducersVerdict]:
    """Each of these minutes, which must be over. A process that is asked twice, by two addresses, counts once."""
    by_id = {one.producer_id: one for one in producers}
    nothing, found = Amount(0, 0), []
    for minute in minutes:
        known = [one.minutes.get(minute, nothing) for one in by_id.values()]
        acknowledged = Amount(sum(one.events for one in known), sum(one.records for one in known))
        there = received.get(minute, nothing)
        if acknowledged.events > there.events or acknowledged.records > there.records:
            verdict = WRONG
        else:
            verdict = EQUAL if acknowledged == there else UNKNOWN
        found.append(ProducersVerdict(minute, verdict, there, acknowledged))
    return found
