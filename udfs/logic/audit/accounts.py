"""Compares the ledger with the tallies of slices, and with the tallies of producers.

A row of the ledger is for a minute of append time and a salt. A slice has such tallies too, made from the archive. A
minute can be judged if all of it lies in a run of slices, in which each begins where the one before ends.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.ledger import LEDGER_COLUMNS
from settings.durations import MINUTES_PER_HOUR
from udfs.logic.history.manifest import SliceInfo

EQUAL, UNKNOWN, WRONG = "equal", "unknown", "wrong"
# (minute of arrival since 1970, salt)
Place = tuple[int, int]
Fates = tuple[int, ...]
_NOTHING: Fates = (0,) * len(LEDGER_COLUMNS)


class WrongAccount(NamedTuple):
    """A row of the ledger that differs from the archive. `before` is the row, or None if there is none."""

    minute: int
    salt: int
    before: Fates | None
    after: Fates


def partition_of(salt: int, partitions: int) -> int:
    """Return the partition of a salt. Foreign records of partition p have the number -1 - p in place of a salt."""
    return -1 - salt if salt < 0 else salt % partitions


class Run:
    """Slices of one partition that follow one another, and their tallies together."""

    def __init__(self, slices: Sequence[SliceInfo]) -> None:
        self.tallies: dict[Place, Fates] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        for info in slices:
            for salt, tallies in info.tallies.items():
                for minute, *fates in tallies:
                    # If a minute continues in the next slice, the tally there is complete, so it replaces this one.
                    # Older slices lack the newer columns.
                    self.tallies[minute, salt] = (*fates, *_NOTHING[len(fates) :])
                    self._first[salt] = min(minute, self._first.get(salt, minute))
                    self._last[salt] = max(minute, self._last.get(salt, minute))
        begins = slices[0].first_offset == 0
        self._first_minute = (slices[0].hour + (0 if begins else 1)) * MINUTES_PER_HOUR
        self._end_minute = slices[-1].hour * MINUTES_PER_HOUR

    def covers(self, minute: int, salt: int) -> bool:
        """Return whether all of a salt's minute lies in these slices.

        A salt's minute has ended when the salt has records of a later one.
        """
        first = min(self._first_minute, self._first.get(salt, self._first_minute))
        end = max(self._end_minute, self._last.get(salt, self._end_minute))
        return first <= minute < end


def runs_of(slices: Iterable[SliceInfo]) -> list[Run]:
    """Return all runs of the slices of one partition."""
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
    """Compare the ledger's rows of one partition, from `first_minute` to `end_minute - 1`.

    Return (number of rows that were judged, rows that are wrong). Hours in `gap_hours` are left out, because the
    archive lacks records, or may judge them differently from the stream.
    """
    runs, gaps = runs_of(slices), set(gap_hours)
    right: dict[Place, Fates] = {}
    for run in runs:
        right |= {place: fates for place, fates in run.tallies.items() if run.covers(*place)}
    compared, wrong = 0, []
    for place in sorted({*right, *rows}):
        minute, salt = place
        if not first_minute <= minute < end_minute or minute // MINUTES_PER_HOUR in gaps:
            continue
        if not any(run.covers(minute, salt) for run in runs):
            continue
        compared += 1
        before, after = rows.get(place), right.get(place, _NOTHING)
        if (before or _NOTHING) != after:
            wrong.append(WrongAccount(minute, salt, before, after))
    return compared, wrong


class Amount(NamedTuple):
    """Numbers of events and records of a minute."""

    events: int
    records: int


class ProducerTally(msgspec.Struct, frozen=True):
    """What Kafka has acknowledged to one ingest process, by minute of append time, as the process says."""

    producer_id: str
    minutes: dict[int, Amount]


class ProducersVerdict(NamedTuple):
    """Compares what the ledger has received in a minute with what Kafka has acknowledged to the producers that answer.

    EQUAL: nobody else has written. UNKNOWN: the ledger has more. Another producer has written, which has ended, does
    not answer or is not ingest, or an acknowledgement was lost. WRONG: the ledger lacks what Kafka has acknowledged.
    """

    minute: int
    verdict: str
    received: Amount
    acknowledged: Amount


def compare_producers(
    received: Mapping[int, Amount], producers: Iterable[ProducerTally], minutes: Iterable[int]
) -> list[ProducersVerdict]:
    """Judge each of these minutes, which must be over. A process that answers at two addresses counts once."""
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
