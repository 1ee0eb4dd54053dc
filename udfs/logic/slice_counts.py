"""What the records of one slice come to. A slice is what one partition holds between two offsets.

It carries on where the slice before it ended, with dedup's memory, so that every event gets the verdict that the stream
gave it. Besides, late events are added, each once: one is a repeat when its id was counted, or added, with the same
time before, in this slice or an earlier one. Whatever is to be looked up lies by the hour in which it was viewed, since
a repeat in this sense was viewed in the same one. Later than `late_ms_max` after its view an event is not added any
more, nor when it was viewed before `viewed_ms_min`: what it might repeat is forgotten.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from settings import CountingSettings
from settings.durations import HOUR_MS
from udfs.logic.audience import Audience, Sums
from udfs.logic.block_list import BlockTable
from udfs.logic.dedup import SaltDedup, Verdict
from udfs.logic.id_index import Ids
from udfs.logic.late_events import LateEvents, Names
from udfs.logic.ledger import Tally


class SaltMemory(NamedTuple):
    """What dedup of one salt hands on to the next slice."""

    header: bytes
    chunks: list[bytes]


class Known(NamedTuple):
    """Events that count: ids (uint64[n, 2]) and the times of their views in ms, in no order that means anything."""

    ids: Ids
    viewed_ms: npt.NDArray[np.int64]

    @property
    def hours(self) -> npt.NDArray[np.int64]:
        """The hour in which each was viewed, since 1970."""
        return self.viewed_ms // HOUR_MS


@dataclass(frozen=True)
class SliceCounts:
    """`sums` are the stream's views and beside them what was added late, `known` the events that they are of.

    `memory` is None when the next slice is counted by the same dedups. `late` says what became of the late events:
    added, repeats, too_old. A tally of a minute that goes on in the next slice is whole there.
    """

    sums: Sums
    known: Known
    memory: dict[int, SaltMemory] | None
    tallies: dict[int, list[Tally]]
    late: Counter[str]


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
        self._fresh: list[Ids] = []
        self._fresh_events = 0
        self._fresh_viewed_ms: list[npt.NDArray[np.int64]] = []
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
            self._fresh.append(outcome.fresh)
            self._fresh_events += len(outcome.fresh)
            self._fresh_viewed_ms.append(outcome.fresh_viewed_ms)
        if outcome.late:
            self._late.add((event.payload for event in outcome.late), outcome.append_ms, self._blocks)
        mine = self._tallies.setdefault(dedup.salt, {})
        mine.update((tally.minute, tally) for tally in dedup.take_tallies())

    @property
    def events(self) -> int:
        """How many are held in memory: those that count, and the late ones."""
        return self._fresh_events + len(self._late)

    def finish(self, known: Callable[[int, Ids], Iterable[Known]], *, hands_on: bool = True) -> SliceCounts:
        """What it all came to. `known` gives what each earlier slice of the partition knows of an hour viewed.

        It is told for which ids it is asked, and may leave others out. One answer at a time is looked through: the ids
        of an hour, of all slices together, may be more than fit in memory.
        """
        fresh = _known(self._fresh, self._fresh_viewed_ms)
        added, late = self._add_late(fresh, known)
        self._audience.add_late(self._late, added)
        return SliceCounts(
            sums=self._audience.sums(self._rules.shards),
            known=_known(
                [fresh.ids, self._late.ids(added)],
                [fresh.viewed_ms, self._late.viewed_ms[added]],
            ),
            memory=self._memory() if hands_on else None,
            tallies={salt: list(by_minute.values()) for salt, by_minute in sorted(self._tallies.items())},
            late=late,
        )

    def _add_late(
        self, fresh: Known, known: Callable[[int, Ids], Iterable[Known]]
    ) -> tuple[npt.NDArray[np.int64], Counter[str]]:
        """Which of the late events are added, and what became of all."""
        late, viewed_ms = self._late, self._late.viewed_ms
        # No subtraction of times: any number may stand for one, and the difference may not fit.
        is_too_old = viewed_ms < np.maximum(self._viewed_ms_min, late.append_ms - self._late_ms_max)
        judged = np.nonzero(~is_too_old)[0]
        ids, judged_ms = late.ids(judged), viewed_ms[judged]
        names = Names(ids, judged_ms)
        if len(judged):
            names.note(*fresh)
        hours = judged_ms // HOUR_MS
        order = np.argsort(hours, kind="stable")
        each, begins = np.unique(hours[order], return_index=True)
        for hour, of_hour in zip(each.tolist(), np.split(order, begins[1:]), strict=False):
            for one in known(hour, ids[of_hour]):
                names.note(*one)
        added = judged[names.new()]
        fates = {"too_old": len(late) - len(judged), "repeats": len(judged) - len(added), "added": len(added)}
        return added, Counter(fates)

    def _memory(self) -> dict[int, SaltMemory]:
        return {salt: SaltMemory(dedup.header(), dedup.chunks()) for salt, dedup in sorted(self._dedups.items())}

    def _of(self, key: bytes | None) -> SaltDedup:
        """Of the record's salt; of the partition itself, when it bears none of the partition's, as in the stream."""
        salt = int.from_bytes(key, "big") if key is not None and len(key) == 4 else -1
        if not 0 <= salt < self._rules.salts or salt % self._partitions != self._partition:
            salt = -1 - self._partition
        dedup = self._dedups.get(salt)
        if dedup is None:
            dedup = self._dedups[salt] = SaltDedup(salt, self._rules, sends=False)
        return dedup


def no_known() -> Known:
    """Nothing."""
    return Known(np.empty((0, 2), np.uint64), np.empty(0, np.int64))


def _known(ids: Sequence[Ids], viewed_ms: Sequence[npt.NDArray[np.int64]]) -> Known:
    nothing = no_known()
    return Known(np.concatenate([nothing.ids, *ids]), np.concatenate([nothing.viewed_ms, *viewed_ms]))
