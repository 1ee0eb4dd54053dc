"""Counts the records of one slice, that is, the records of one partition between two offsets.

Counting continues where the slice before ended, with dedup's memory, so that every event gets the same fate as in the
stream. In addition, late events are added, each once. A late event is a repeat if an event with the same id and the
same time was counted or added before, in this slice or in an earlier one. Such events were viewed in the same hour, so
ids are looked up by hour viewed. An event is not added any more if it arrives more than `late_ms_max` after it was
viewed, or was viewed before `viewed_ms_min`, because the ids that it may repeat are not kept so long.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from settings import CountingSettings
from settings.durations import HOUR_MS
from udfs.logic.kernels.id_index import Ids
from udfs.logic.slices.audience import Audience, Sums
from udfs.logic.slices.late_events import LateEvents, Names
from udfs.logic.slices.repeats import SAMPLES, Repeats, SeenIds, known_of, subjects_of
from udfs.logic.stream.arrival import salt_in
from udfs.logic.stream.block_table import BlockTable
from udfs.logic.stream.dedup import SaltDedup, Verdict
from udfs.logic.stream.ledger import Tally


class SaltMemory(NamedTuple):
    """The state of one salt's dedup, with which the next slice begins."""

    header: bytes
    chunks: list[bytes]


@dataclass(frozen=True)
class SliceCounts:
    """The result of a slice.

    `sums` are the views that the stream has counted, and beside them those that were added late; `known` are the events
    of both. `memory` is None if the next slice is counted with the same dedups. `late` says what became of the late
    events: added, repeats, too_old. `repeats` says what the events are that repeat an id
    (udfs.logic.slices.repeats.Repeat), with `samples`. If a minute continues in the next slice, the tally there is the
    complete one.
    """

    sums: Sums
    known: SeenIds
    memory: dict[int, SaltMemory] | None
    tallies: dict[int, list[Tally]]
    late: Counter[str]
    repeats: Counter[str] = field(default_factory=Counter)
    samples: pa.Table = field(default_factory=SAMPLES.empty_table)


def dedups_of(memory: Mapping[int, SaltMemory], rules: CountingSettings) -> dict[int, SaltDedup]:
    """Restore the dedups, by salt, from the memory of a slice."""
    found = {}
    for salt, kept in memory.items():
        found[salt] = SaltDedup(salt, rules, sends=False)
        found[salt].restore(kept.header, kept.chunks, [])
    return found


class SliceCounter:
    """Counts one slice. Records must come in the order of their offsets.

    `dedups` are those of the slice before, by salt. They are changed, and are then those for the next slice.
    """

    def __init__(
        self,
        rules: CountingSettings,
        *,
        partition: int,
        partitions: int,
        blocks: BlockTable,
        late_ms_max: int,
        viewed_ms_min: int,
        dedups: dict[int, SaltDedup],
    ) -> None:
        self._rules = rules
        self._partition = partition
        self._partitions = partitions
        self._blocks = blocks
        self._late_ms_max = late_ms_max
        self._viewed_ms_min = viewed_ms_min
        self._dedups = dedups
        self._fresh: list[SeenIds] = []
        self._fresh_events = 0
        self._repeats = Repeats(rules)
        self._late = LateEvents()
        self._audience = Audience()
        self._tallies: dict[int, dict[int, Tally]] = {}

    def count(self, key: bytes | None, value: bytes | None, record_ms: int) -> None:
        """Count one record. No content makes it raise."""
        dedup = self._of(key)
        outcome = dedup.judge(value or b"", record_ms, dedup.salt, self._blocks)
        if outcome.fresh is not None:
            assert outcome.fresh_viewed_ms is not None
            assert outcome.batch is not None
            assert outcome.verdicts is not None
            assert value is not None
            counted = np.nonzero(outcome.verdicts > Verdict.DUPLICATE)[0]
            is_blocked = outcome.verdicts[counted] == Verdict.BLOCKED
            buf = np.frombuffer(value, np.uint8)
            self._audience.add(buf, outcome.batch.spans, outcome.batch.viewed_at, counted, is_blocked)
            subjects = subjects_of(buf, outcome.batch.spans, counted)
            self._fresh.append(SeenIds(outcome.fresh, outcome.fresh_viewed_ms, subjects))
            self._fresh_events += len(outcome.fresh)
        if outcome.batch is not None and outcome.verdicts is not None:
            repeated = np.nonzero(outcome.verdicts == Verdict.DUPLICATE)[0]
            self._repeats.add(value or b"", outcome.batch.spans, outcome.batch.viewed_at, repeated, outcome.append_ms)
        if outcome.late:
            self._late.add((event.payload for event in outcome.late), outcome.append_ms, self._blocks)
        mine = self._tallies.setdefault(dedup.salt, {})
        mine.update((tally.minute, tally) for tally in dedup.take_tallies())

    @property
    def events(self) -> int:
        """How many events are held in memory: those that count, the late ones, and repeats."""
        return self._fresh_events + len(self._late) + len(self._repeats)

    def finish(
        self,
        known: Callable[[int, Ids], Iterable[SeenIds]],
        *,
        newest: Callable[[Collection[int], Ids], Iterable[SeenIds]] = lambda _hours, _ids: (),
        hands_on: bool = True,
    ) -> SliceCounts:
        """Return the result, after all records.

        `known` gets an hour viewed and ids, and yields the events of that hour from each earlier slice of the
        partition. `newest` does the same for several hours, with the newest slices first; repeats are judged by it.
        Both may leave out events with other ids. They yield one slice at a time, because the ids of an hour from all
        slices may not fit in memory.
        """
        fresh = known_of(self._fresh)
        repeated = newest(self._repeats.hours(), self._repeats.ids())
        repeats, samples = self._repeats.judge(itertools.chain([fresh], repeated))
        added, late, late_repeats = self._add_late(fresh, known)
        self._audience.add_late(self._late, added)
        return SliceCounts(
            sums=self._audience.sums(self._rules.shards),
            known=known_of(
                [fresh, SeenIds(self._late.ids(added), self._late.viewed_ms[added], self._late.subjects[added])]
            ),
            memory=self._memory() if hands_on else None,
            tallies={salt: list(by_minute.values()) for salt, by_minute in sorted(self._tallies.items())},
            late=late,
            repeats=repeats + late_repeats,
            samples=samples,
        )

    def _add_late(
        self, fresh: SeenIds, known: Callable[[int, Ids], Iterable[SeenIds]]
    ) -> tuple[npt.NDArray[np.int64], Counter[str], Counter[str]]:
        """Return (late events to add, what became of all, what those are that repeat an id and a time)."""
        late, viewed_ms = self._late, self._late.viewed_ms
        # Compare times, not differences: a time may be any int64, and a difference may overflow.
        is_too_old = viewed_ms < np.maximum(self._viewed_ms_min, late.append_ms - self._late_ms_max)
        judged = np.nonzero(~is_too_old)[0]
        names = Names(late.ids(judged), viewed_ms[judged], late.subjects[judged])
        if len(judged):
            names.note(fresh)
        hours = viewed_ms[judged] // HOUR_MS
        order = np.argsort(hours, kind="stable")
        each, begins = np.unique(hours[order], return_index=True)
        for hour, of_hour in zip(each.tolist(), np.split(order, begins[1:]), strict=False):
            for one in known(hour, late.ids(judged[of_hour])):
                names.note(one)
        added = judged[names.new()]
        fates = {"too_old": len(late) - len(judged), "repeats": len(judged) - len(added), "added": len(added)}
        return added, Counter(fates), names.repeats()

    def _memory(self) -> dict[int, SaltMemory]:
        return {salt: SaltMemory(dedup.header(), dedup.chunks()) for salt, dedup in sorted(self._dedups.items())}

    def _of(self, key: bytes | None) -> SaltDedup:
        """Return the dedup of the record's salt. As in the stream, records without a salt of the partition have one."""
        salt = salt_in(key, self._partition, salts=self._rules.salts, partitions=self._partitions)
        dedup = self._dedups.get(salt)
        if dedup is None:
            dedup = self._dedups[salt] = SaltDedup(salt, self._rules, sends=False)
        return dedup


def no_known() -> SeenIds:
    """Return no events."""
    return known_of([])
