"""What the records of one slice come to. A slice is what one partition holds between two offsets.

It carries on where the slice before it ended, with dedup's memory, so that every event gets the verdict that the stream
gave it. Besides, late events are added, each once: one is a repeat when its id was counted, or added, with the same
time before, in this slice or an earlier one. Whatever is to be looked up lies by the hour in which it was viewed, since
a repeat in this sense was viewed in the same one. Later than `late_ms_max` after its view an event is not added any
more, nor when it was viewed before `viewed_ms_min`: what it might repeat is forgotten.
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
from udfs.logic.slices.repeats import SAMPLES, Known, Repeats, known_of, subjects_of
from udfs.logic.stream.arrival import salt_in
from udfs.logic.stream.block_table import BlockTable
from udfs.logic.stream.dedup import SaltDedup, Verdict
from udfs.logic.stream.ledger import Tally


class SaltMemory(NamedTuple):
    """What dedup of one salt hands on to the next slice."""

    header: bytes
    chunks: list[bytes]


@dataclass(frozen=True)
class SliceCounts:
    """`sums` are the stream's views and beside them what was added late, `known` the events that they are of.

    `memory` is None when the next slice is counted by the same dedups. `late` says what became of the late events:
    added, repeats, too_old; `repeats` what those are that repeat an id (udfs.logic.slices.repeats.Repeat), with
    `samples`. A tally of a minute that goes on in the next slice is whole there.
    """

    sums: Sums
    known: Known
    memory: dict[int, SaltMemory] | None
    tallies: dict[int, list[Tally]]
    late: Counter[str]
    repeats: Counter[str] = field(default_factory=Counter)
    samples: pa.Table = field(default_factory=SAMPLES.empty_table)


def dedups_of(memory: Mapping[int, SaltMemory], rules: CountingSettings) -> dict[int, SaltDedup]:
    """Those that handed this on, by salt."""
    found = {}
    for salt, kept in memory.items():
        found[salt] = SaltDedup(salt, rules, sends=False)
        found[salt].restore(kept.header, kept.chunks, [])
    return found


class SliceCounter:
    """Counts one slice. Records in the order of their offsets.

    `dedups` are as the slice before has left them, and as the next one finds them afterwards.
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
        self._fresh: list[Known] = []
        self._fresh_events = 0
        self._repeats = Repeats(rules)
        self._late = LateEvents()
        self._audience = Audience()
        self._tallies: dict[int, dict[int, Tally]] = {}

    def record(self, key: bytes | None, value: bytes | None, record_ms: int) -> None:
        """Judge one record. Never raises for what the bytes say."""
        dedup = self._of(key)
        outcome = dedup.record(value or b"", record_ms, dedup.salt, self._blocks)
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
            self._fresh.append(Known(outcome.fresh, outcome.fresh_viewed_ms, subjects))
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
        """How many are held in memory: those that count, the late ones, and repeats."""
        return self._fresh_events + len(self._late) + len(self._repeats)

    def finish(
        self,
        known: Callable[[int, Ids], Iterable[Known]],
        *,
        newest: Callable[[Collection[int], Ids], Iterable[Known]] = lambda _hours, _ids: (),
        hands_on: bool = True,
    ) -> SliceCounts:
        """What it all came to. `known` gives what each earlier slice of the partition knows of an hour viewed.

        `newest` gives the same of several hours, of the newest slices first: by it repeats are judged. Both are told
        for which ids they are asked, and may leave others out. One answer at a time is looked through: the ids of an
        hour, of all slices together, may be more than fit in memory.
        """
        fresh = known_of(self._fresh)
        repeated = newest(self._repeats.hours(), self._repeats.ids())
        repeats, samples = self._repeats.judge(itertools.chain([fresh], repeated))
        added, late, late_repeats = self._add_late(fresh, known)
        self._audience.add_late(self._late, added)
        return SliceCounts(
            sums=self._audience.sums(self._rules.shards),
            known=known_of(
                [fresh, Known(self._late.ids(added), self._late.viewed_ms[added], self._late.subjects[added])]
            ),
            memory=self._memory() if hands_on else None,
            tallies={salt: list(by_minute.values()) for salt, by_minute in sorted(self._tallies.items())},
            late=late,
            repeats=repeats + late_repeats,
            samples=samples,
        )

    def _add_late(
        self, fresh: Known, known: Callable[[int, Ids], Iterable[Known]]
    ) -> tuple[npt.NDArray[np.int64], Counter[str], Counter[str]]:
        """(those to be added, what became of all, what those are that repeat an id and a time)."""
        late, viewed_ms = self._late, self._late.viewed_ms
        # Not by how late it is: any number may stand for a time, and the difference may not fit.
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
        """Of the record's salt; of the partition itself, when it bears none of the partition's, as in the stream."""
        salt = salt_in(key, self._partition, salts=self._rules.salts, partitions=self._partitions)
        dedup = self._dedups.get(salt)
        if dedup is None:
            dedup = self._dedups[salt] = SaltDedup(salt, self._rules, sends=False)
        return dedup


def no_known() -> Known:
    """Nothing."""
    return known_of([])
