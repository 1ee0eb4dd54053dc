"""What the records of one slice come to. A slice is what one partition holds between two offsets.

It carries on where the slice before it ended, with dedup's memory, so that every event gets the verdict that the stream
gave it. Besides, late events are added, each once: one is a repeat when its id was counted, or added, with the same
time before, in this slice or an earlier one. Whatever is to be looked up lies by the hour in which it was viewed, since
a repeat in this sense was viewed in the same one. Later than `late_ms_max` after its view an event is not added any
more, nor when it was viewed before `viewed_ms_min`: what it might repeat is forgotten.
"""

import io
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import fastavro
import numpy as np
import pyarrow as pa

from schemas import registry
from schemas.kinds import blocked
from settings import CountingSettings
from settings.durations import HOUR_MS
from udfs.logic.arrival import salt_in
from udfs.logic.audience import Audience, Sums
from udfs.logic.block_list import BlockTable, is_blocked
from udfs.logic.dedup import Outcome, SaltDedup, Verdict
from udfs.logic.id_index import IdIndex
from udfs.logic.ledger import Tally
from udfs.logic.repeats import SAMPLES, Known, Repeat, Repeats, known_of, subject_of, subjects_of


class SaltMemory(NamedTuple):
    """What dedup of one salt hands on to the next slice."""

    header: bytes
    chunks: list[bytes]


class LateEvent(NamedTuple):
    """One that came after its minute had closed; `kind` is what it would be counted as, `datum` how it came.

    `subject` is the hash of video and kind (udfs.logic.repeats).
    """

    event_id: bytes
    viewed_ms: int
    append_ms: int
    video_id: str
    kind: str
    is_blocked: bool
    datum: bytes
    subject: int


@dataclass(frozen=True)
class SliceCounts:
    """`sums` are the stream's views and beside them what was added late, `known` the events that they are of.

    `memory` is None when the next slice is counted by the same dedups. `late` says what became of the late events:
    added, repeats, too_old; `repeats` what those are that repeat an id (udfs.logic.repeats.Repeat), with `samples`. A
    tally of a minute that goes on in the next slice is whole there.
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
        self._late: list[LateEvent] = []
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
            self._late += read_late(outcome, self._blocks)
        mine = self._tallies.setdefault(dedup.salt, {})
        mine.update((tally.minute, tally) for tally in dedup.take_tallies())

    @property
    def events(self) -> int:
        """How many are held in memory: those that count, the late ones, and repeats."""
        return self._fresh_events + len(self._late) + len(self._repeats)

    def late_hours(self) -> set[int]:
        """The hours of which `finish` asks what is known."""
        return {event.viewed_ms // HOUR_MS for event in self._late if not self._is_too_old(event)}

    def finish(
        self,
        known: Callable[[int], Iterable[Known]],
        *,
        newest: Callable[[Collection[int]], Iterable[Known]] = lambda _hours: (),
        hands_on: bool = True,
    ) -> SliceCounts:
        """What it all came to. `known` gives what each earlier slice of the partition knows of an hour viewed.

        `newest` gives the same of several hours, of the newest slices first: by it repeats are judged. One at a time is
        looked through: the ids of an hour, of all slices together, may be more than fit in memory.
        """
        fresh = known_of(self._fresh)
        repeats, samples = self._repeats.judge(itertools.chain([fresh], newest(self._repeats.hours())))
        added, late, late_repeats = self._add_late(fresh, known)
        for event in added:
            self._audience.add_late(event.datum, is_blocked=event.is_blocked)
        return SliceCounts(
            sums=self._audience.sums(self._rules.shards),
            known=_by_hour(
                known_of(
                    [
                        fresh,
                        Known(
                            np.frombuffer(b"".join(event.event_id for event in added), np.uint64).reshape(-1, 2),
                            np.array([event.viewed_ms for event in added], np.int64),
                            np.array([event.subject for event in added], np.uint64),
                        ),
                    ]
                )
            ),
            memory=self._memory() if hands_on else None,
            tallies={salt: list(by_minute.values()) for salt, by_minute in sorted(self._tallies.items())},
            late=late,
            repeats=repeats + late_repeats,
            samples=samples,
        )

    def _add_late(
        self, fresh: Known, known: Callable[[int], Iterable[Known]]
    ) -> tuple[list[LateEvent], Counter[str], Counter[str]]:
        """(those to be added, what became of all, what those are that repeat an id and a time)."""
        late: Counter[str] = Counter()
        repeats: Counter[str] = Counter()
        judged = [event for event in self._late if not self._is_too_old(event)]
        late["too_old"] = len(self._late) - len(judged)
        before = (one for hour in sorted(self.late_hours()) for one in known(hour))
        taken = _among(judged, itertools.chain([fresh], before))
        added = []
        for event in judged:
            name = event.event_id, event.viewed_ms
            subjects = taken.get(name)
            if subjects is None:
                taken[name] = {event.subject}
                added.append(event)
                continue
            late["repeats"] += 1
            if event.subject in subjects:
                repeat = Repeat.SAME
            else:
                repeat = Repeat.UNKNOWN if None in subjects else Repeat.CONFLICTING
            repeats[repeat.name.lower()] += 1
        late["added"] = len(added)
        return added, late, repeats

    def _memory(self) -> dict[int, SaltMemory]:
        return {salt: SaltMemory(dedup.header(), dedup.chunks()) for salt, dedup in sorted(self._dedups.items())}

    def _is_too_old(self, event: LateEvent) -> bool:
        return event.append_ms - event.viewed_ms > self._late_ms_max or event.viewed_ms < self._viewed_ms_min

    def _of(self, key: bytes | None) -> SaltDedup:
        """Of the record's salt; of the partition itself, when it bears none of the partition's, as in the stream."""
        salt = salt_in(key, self._partition, salts=self._rules.salts, partitions=self._partitions)
        dedup = self._dedups.get(salt)
        if dedup is None:
            dedup = self._dedups[salt] = SaltDedup(salt, self._rules, sends=False)
        return dedup


_EVENT = registry.numeric_schema("ViewEvent")


def read_late(outcome: Outcome, blocks: BlockTable) -> list[LateEvent]:
    """The late events of a record."""
    found = []
    for rejected in outcome.late:
        event: Any = fastavro.schemaless_reader(io.BytesIO(rejected.payload), _EVENT, None)
        viewer = np.frombuffer((event["viewer_id"] or "").encode(), np.uint8)
        unwanted = is_blocked(viewer, 0, len(viewer), outcome.append_ms, *blocks)
        found.append(
            LateEvent(
                event["event_id"],
                event["viewed_at"],
                outcome.append_ms,
                event["video_id"],
                blocked(event["kind"]) if unwanted else event["kind"],
                unwanted,
                rejected.payload,
                subject_of(rejected.payload),
            )
        )
    return found


def no_known() -> Known:
    """Nothing."""
    return known_of([])


def _by_hour(known: Known) -> Known:
    order = np.argsort(known.hours, kind="stable")
    assert known.subjects is not None
    return Known(known.ids[order], known.viewed_ms[order], known.subjects[order])


def _among(events: Sequence[LateEvent], known: Iterable[Known]) -> dict[tuple[bytes, int], set[int | None]]:
    """Which of these (id, time) are known, and of which subjects; None where that was not kept."""
    if not events:
        return {}
    wanted = IdIndex()
    wanted.add_all(np.frombuffer(b"".join(event.event_id for event in events), np.uint64).reshape(-1, 2))
    asked = {(event.event_id, event.viewed_ms) for event in events}
    found: dict[tuple[bytes, int], set[int | None]] = {}
    for one in known:
        for row in wanted.places_in(one.ids).tolist():
            name = one.ids[row].tobytes(), int(one.viewed_ms[row])
            if name in asked:
                found.setdefault(name, set()).add(None if one.subjects is None else int(one.subjects[row]))
    return found
