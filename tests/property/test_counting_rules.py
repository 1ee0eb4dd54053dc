"""Dedup and windows against a count that knows neither, with crashes, restores and re-reads at any point."""

import collections
import dataclasses
import random
import struct
import tempfile
import uuid
from dataclasses import dataclass, field

import mmh3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from schemas.varint import varint
from settings import CountingSettings
from tests.support.random_streams import (
    BLOCKS,
    FAR_MS,
    MINUTE_MS,
    NOW_MS,
    RULE_SETS,
    RULES,
    Record,
    brute_force,
    encode,
    random_log,
)
from tests.support.tiers import examples
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.minutes import partials
from udfs.logic.minutes.cells import unpack_dated_rows
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.ledger import Tally
from udfs.logic.stream.window import ClosedMinuteError, Emission, Ranking, ShardWindow


def cells_of(rows: bytes) -> dict[tuple[str, str, int], int]:
    """Counts by (kind, video, minute) of dated rows; each cell once."""
    cells = unpack_dated_rows(rows)
    found = {(cell.kind.decode(), cell.video_id.decode(), cell.minute): cell.views for cell in cells}
    assert len(found) == len(cells)
    return found


@dataclass
class Stored:
    """What a state backend would hold: for each salt and shard, a header and chunks; for each salt, what is unsent."""

    offsets: list[int] = field(default_factory=lambda: [0] * RULES.salts)
    salt_headers: dict[int, bytes] = field(default_factory=dict)
    salt_chunks: dict[int, dict[tuple[int, int], bytes]] = field(default_factory=lambda: collections.defaultdict(dict))
    unsent: dict[int, list[bytes]] = field(default_factory=lambda: collections.defaultdict(list))
    shard_headers: dict[int, bytes] = field(default_factory=dict)
    shard_chunks: dict[int, dict[int, bytes]] = field(default_factory=lambda: collections.defaultdict(dict))
    # Shards that have a timer set.
    timers: set[int] = field(default_factory=set)

    def copy(self) -> "Stored":
        return Stored(
            list(self.offsets),
            dict(self.salt_headers),
            collections.defaultdict(dict, {k: dict(v) for k, v in self.salt_chunks.items()}),
            collections.defaultdict(list, {k: list(v) for k, v in self.unsent.items()}),
            dict(self.shard_headers),
            collections.defaultdict(dict, {k: dict(v) for k, v in self.shard_chunks.items()}),
            set(self.timers),
        )


class Machine:
    """The two stages over a state, as the Flink operators drive them, on records of a log.

    `counts`, `tallies` and `tops` are what the sink has written; there, as in Cassandra, the larger value wins. What is
    under way, by shard, a crash loses. `memory_bytes`: of each stage; what is beyond lies in files.
    """

    def __init__(
        self, log: list[list[Record]], rules: CountingSettings, state: Stored, memory_bytes: int | None = None
    ) -> None:
        self.memory_bytes = memory_bytes
        self.log = log
        self.rules = rules
        self.state = state
        self.counts: dict[tuple[str, str, int], int] = {}
        self.tallies: dict[tuple[int, int], Tally] = {}
        self.shard_of_video: dict[str, int] = {}
        self.tops: dict[tuple[int, str, int], Ranking] = {}
        self.changes_under_way: dict[int, Emission] = {}
        self.tops_under_way: dict[int, list[Ranking]] = {}
        self.restore(state)

    def restore(self, state: Stored) -> None:
        """Lose all memory and what is under way, and go on from this state; what the sink has written stays."""
        self.state = state
        self.changes_under_way.clear()
        self.tops_under_way.clear()
        self.salts = []
        self.ids, self.cells = (
            None if self.memory_bytes is None else Budget(self.memory_bytes, tempfile.gettempdir()) for _ in range(2)
        )
        for salt in range(RULES.salts):
            dedup = SaltDedup(salt, self.rules, budget=self.ids)
            if salt in state.salt_headers:
                dedup.restore(state.salt_headers[salt], state.salt_chunks[salt].values(), state.unsent[salt])
            self.salts.append(dedup)
        self.shards = []
        for shard in range(RULES.shards):
            window = ShardWindow(self.rules, self.cells)
            if shard in state.shard_headers:
                window.restore(state.shard_headers[shard], state.shard_chunks[shard].items())
            self.shards.append(window)

    def read(self, salt: int) -> None:
        stamp, value, _, _ = self.log[salt][self.state.offsets[salt]]
        self.state.offsets[salt] += 1
        dedup = self.salts[salt]
        outcome = dedup.judge(value, stamp, salt, BLOCKS)
        chunks = self.state.salt_chunks[salt]
        if outcome.chunk is not None:
            chunks[outcome.generation, outcome.sequence] = outcome.chunk
            assert outcome.unsent is not None
            self.state.unsent[salt].append(outcome.unsent.tobytes())
        for key in [k for k in chunks if k[0] < outcome.generation - 1]:
            del chunks[key]
        self.state.salt_headers[salt] = dedup.header()

    def flush(self, salt: int) -> None:
        for shard, element in self.salts[salt].flush().elements.items():
            for key, rows in self.shards[shard].absorb(element):
                self.state.shard_chunks[shard][key] = rows
            self.keep(shard)
        self.state.unsent[salt].clear()
        self.state.salt_headers[salt] = self.salts[salt].header()

    def tell(self, salt: int) -> None:
        shard = salt % RULES.shards
        self.shards[shard].absorb_tallies(salt, map(dataclasses.replace, self.salts[salt].take_tallies()))
        self.keep(shard)
        self.state.salt_headers[salt] = self.salts[salt].header()

    def keep(self, shard: int) -> None:
        self.state.shard_headers[shard] = self.shards[shard].header()
        if self.shards[shard].has_work or self.shards[shard].has_unranked:
            self.state.timers.add(shard)

    def emit(self, shard: int) -> None:
        self.state.timers.discard(shard)
        emission = self.shards[shard].emit()
        if emission.counts or emission.tallies:
            self.write_changes(shard)
            self.changes_under_way[shard] = emission
        if emission.settle or emission.closed_through is not None:
            self.write(shard)
        for key in emission.dropped:
            del self.state.shard_chunks[shard][key]
        self.state.shard_chunks[shard].update(emission.stored)
        self.keep(shard)

    def rank(self, shard: int) -> None:
        self.write_tops(shard)
        self.tops_under_way[shard] = self.shards[shard].rank()
        self.keep(shard)

    def write(self, shard: int) -> None:
        """All of the shard that is under way is written."""
        self.write_changes(shard)
        self.write_tops(shard)

    def write_changes(self, shard: int) -> None:
        emission = self.changes_under_way.pop(shard, None)
        if emission is None:
            return
        for cell, views in (item for rows in emission.counts for item in cells_of(rows).items()):
            _, video, _ = cell
            self.counts[cell] = max(self.counts.get(cell, 0), views)
            assert self.shard_of_video.setdefault(video, shard) == shard, "a video, all kinds, lives in one shard"
        for salt, tally in emission.tallies:
            stored = self.tallies.get((salt, tally.minute))
            if stored is None or stored.records < tally.records:
                self.tallies[salt, tally.minute] = tally

    def write_tops(self, shard: int) -> None:
        for ranking in self.tops_under_way.pop(shard, []):
            stored = self.tops.get((shard, ranking.span, ranking.minute))
            if stored is None or stored.events <= ranking.events:
                self.tops[shard, ranking.span, ranking.minute] = ranking


# Bytes: without a budget, in half of the examples; nothing is in memory; now one table is and now another.
BUDGETS = [None, None, 0, 40_000]


@examples(full=100, fast=6)
@given(st.integers(min_value=0, max_value=2**48), st.sampled_from(RULE_SETS), st.sampled_from(BUDGETS))
def test_counts_and_fates_equal_the_brute_force_count_whatever_crashes(
    seed: int, rules: CountingSettings, memory_bytes: int | None
) -> None:
    r = random.Random(seed)
    log = random_log(r, rules)
    want, ledger = brute_force(log, rules)
    machine = Machine(log, rules, Stored(), memory_bytes)
    saved = machine.state.copy()
    while any(machine.state.offsets[s] < len(log[s]) for s in range(RULES.salts)):
        chance = r.random()
        if chance < 0.65:
            salt = r.randrange(RULES.salts)
            if machine.state.offsets[salt] < len(log[salt]):
                machine.read(salt)
        elif chance < 0.77:
            machine.flush(r.randrange(RULES.salts))
        elif chance < 0.8:
            machine.tell(r.randrange(RULES.salts))
        elif chance < 0.92:
            machine.emit(r.randrange(RULES.shards))
        elif chance < 0.93:
            machine.rank(r.randrange(RULES.shards))
        elif chance < 0.97:
            saved = machine.state.copy()
        else:
            machine.restore(saved.copy())
    # A restore at the very end, so that what was unsent must come back from state, and one more, after which nothing
    # arrives: timers alone must bring back what was under way.
    machine.restore(machine.state.copy())
    for salt in range(RULES.salts):
        machine.flush(salt)
        machine.tell(salt)
    for shard in r.sample(range(RULES.shards), RULES.shards // 2):
        machine.emit(shard)
        if r.random() < 0.5:
            machine.rank(shard)
    machine.restore(machine.state.copy())
    while machine.state.timers:
        shard = machine.state.timers.pop()
        if machine.shards[shard].has_unranked:
            machine.rank(shard)
        machine.emit(shard)
    assert not machine.changes_under_way
    assert not machine.tops_under_way
    assert machine.counts == want
    assert_ranked_like_the_truth(machine, want)
    assert {place: fates_of(tally) for place, tally in machine.tallies.items()} == ledger
    for window in machine.shards:
        assert window.closed_through >= max((minute for _, _, minute in want), default=0)
        assert not window.emit().counts
    for chunks in machine.state.shard_chunks.values():
        minutes = [key >> 32 for key in chunks]
        assert len(set(minutes)) == len(minutes), "a closed minute leaves one chunk in state"


@examples(full=40, fast=6)
@given(st.integers(min_value=0, max_value=2**48))
def test_a_heartbeat_a_salt_brings_back_what_was_unsent_when_a_checkpoint_lacks_timers(seed: int) -> None:
    r = random.Random(seed)
    log = random_log(r, RULES)
    want, ledger = brute_force(log, RULES)
    machine = Machine(log, RULES, Stored())
    for salt in range(RULES.salts):
        for _ in log[salt]:
            machine.read(salt)
            if r.random() < 0.2:
                machine.flush(salt)
            if r.random() < 0.1:
                machine.tell(salt)
        # All is told, so that no shard would hear of this minute again.
        if r.random() < 0.8:
            machine.flush(salt)
        if r.random() < 0.5:
            machine.emit(r.randrange(RULES.shards))
    state = machine.state.copy()
    state.timers.clear()
    machine.restore(state)
    for salt, records in enumerate(log):
        stamp = records[-1][2]
        records.append((stamp, encode(salt, [], stamp), stamp, []))
        # The salt's time stands still.
        ledger[max(place for place in ledger if place[0] == salt)]["records"] += 1
        machine.read(salt)
        machine.flush(salt)
        machine.tell(salt)
    assert machine.state.timers == set(range(RULES.shards))
    while machine.state.timers:
        shard = machine.state.timers.pop()
        if machine.shards[shard].has_unranked:
            machine.rank(shard)
        machine.emit(shard)
    assert machine.counts == want
    assert {place: fates_of(tally) for place, tally in machine.tallies.items()} == ledger


@pytest.mark.slow
def test_what_lies_in_files_gives_the_same_verdicts_emissions_and_lists() -> None:
    r = random.Random(7)
    ids = [r.randbytes(16) for _ in range(12_000)]
    mine = [i for i in ids if mmh3.hash(i, 0, signed=False) % RULES.salts == 1]
    deduped = [SaltDedup(1, RULES, budget=budget) for budget in (None, Budget(50_000, tempfile.gettempdir()))]
    budget = Budget(0, tempfile.gettempdir())
    windows = [[ShardWindow(RULES, one) for _ in range(RULES.shards)] for one in (None, budget)]
    now, spilled = NOW_MS, 0
    for turn in range(150):
        # Over several generations, and more than two hours: what is held goes through all that it may become.
        now += 97 * 1000 if turn > 20 else 1000
        events = [
            (i, f"video-{r.randrange(400)}", r.choice(("view", "like")), now - r.randrange(RULES.lateness_ms))
            for i in (*r.sample(mine, 40), *(bytes([turn]) * 15 + bytes([n]) for n in range(60)))
            if mmh3.hash(i, 0, signed=False) % RULES.salts == 1
        ]
        value = encode(1, events, now)
        outcomes = [dedup.judge(value, now, 1) for dedup in deduped]
        of_memory, of_files = (outcome.verdicts for outcome in outcomes)
        assert of_memory is not None
        assert of_files is not None
        assert np.array_equal(of_memory, of_files)
        assert outcomes[0].chunk == outcomes[1].chunk
        assert deduped[0].header() == deduped[1].header()
        elements = [dedup.flush().elements for dedup in deduped]
        assert elements[0] == elements[1]
        for shard, element in elements[0].items():
            here, there = (some[shard] for some in windows)
            assert here.absorb(element) == there.absorb(element)
            for salt in set(range(RULES.salts)) - {1}:
                for window in (here, there):
                    window.absorb(partials.encode_frontier(salt, now))
            given, wanted = there.emit(), here.emit()
            assert given == dataclasses.replace(wanted, stored=given.stored)
            assert [(key, rows_of(rows)) for key, rows in given.stored] == [
                (key, rows_of(rows)) for key, rows in wanted.stored
            ]
            if turn % 7 == 0:
                assert here.rank() == there.rank()
            assert here.header() == there.header()
        spilled = max(spilled, budget.spilled_bytes)
        assert budget.held_bytes == 0
    assert spilled > 0


def rows_of(rows: bytes) -> list[bytes]:
    """Rows without minute, in order."""
    found, at = [], 0
    while at < len(rows):
        found.append(rows[at : at + rows[at] + 5])
        at += rows[at] + 5
    return sorted(found)


def assert_ranked_like_the_truth(machine: Machine, want: dict[tuple[str, str, int], int]) -> None:
    """Every minute that has views, and the hour until the last closed minute, of every shard."""
    for shard, window in enumerate(machine.shards):
        mine = {cell: n for cell, n in want.items() if machine.shard_of_video[cell[1]] == shard}
        last = window.closed_through
        for span, minute, hours in (
            *(("minute", minute, (range(minute, minute + 1), range(0))) for minute in {m for _, _, m in mine}),
            ("hour", last, (range(last - 59, last + 1), range(0))),
            ("trending", last, (range(last - 59, last + 1), range(last - 119, last - 59))),
        ):
            now, before = (sum_by(mine, hour) for hour in hours)
            expected: dict[bytes, list[tuple[int, bytes]]] = {}
            for kind, video in {*now, *before}:
                growth = now[kind, video] - before[kind, video]
                entries = expected.setdefault(kind.encode(), [])
                if growth > 0:
                    entries.append((-growth, video.encode()))
            found = {
                kind: [(ranked.views_before - ranked.views, ranked.video_id) for ranked in videos]
                for kind, videos in machine.tops[shard, span, minute].lists.items()
            }
            assert found == {kind: sorted(entries) for kind, entries in expected.items()}, (span, minute)


def sum_by(cells: dict[tuple[str, str, int], int], minutes: range) -> collections.Counter[tuple[str, str]]:
    total: collections.Counter[tuple[str, str]] = collections.Counter()
    for (kind, video, minute), n in cells.items():
        if minute in minutes:
            total[kind, video] += n
    return total


def fates_of(tally: Tally) -> collections.Counter[str]:
    """A tally's columns that are not 0, without the minute; received must be the sum of the fates."""
    columns = dataclasses.asdict(tally)
    del columns["minute"]
    found = +collections.Counter(columns)
    assert found["received"] == sum(found[fate] for fate in ("counted", "duplicate", "late", "invalid", "blocked"))
    return +found


@examples(full=60, fast=8)
@given(st.integers(min_value=0, max_value=2**48))
def test_every_late_and_invalid_event_is_handed_out_with_its_bytes(seed: int) -> None:
    log = random_log(random.Random(seed), RULES)
    _, ledger = brute_force(log, RULES)
    fates = sum(ledger.values(), collections.Counter())
    late = dead = 0
    for salt, records in enumerate(log):
        dedup = SaltDedup(salt, RULES)
        for stamp, value, _, events in records:
            outcome = dedup.judge(value, stamp, salt)
            if events is None:
                assert [rejected.payload for rejected in outcome.dead] == [value]
                continue
            late += len(outcome.late)
            dead += len(outcome.dead)
            for rejected in (*outcome.late, *outcome.dead):
                assert rejected.payload[:16] == events[rejected.index][0]
                assert rejected.payload in value
    assert (late, dead) == (fates["late"], fates["invalid"])


def test_an_unchanged_repeat_after_any_outage_never_counts_twice() -> None:
    event = (uuid.UUID(int=77 << 64).bytes, "v", "view", NOW_MS)
    salt = mmh3.hash(event[0], 0, signed=False) % RULES.salts
    for away_ms in range(0, 3_000_000, 7_000):
        dedup = SaltDedup(salt, RULES)
        dedup.judge(encode(salt, [event], NOW_MS), NOW_MS, salt)
        outcome = dedup.judge(encode(salt, [event], NOW_MS + away_ms), NOW_MS + away_ms, salt)
        assert outcome.chunk is None, f"counted again after {away_ms} ms"


def test_a_record_stamped_far_ahead_makes_nothing_late_and_one_that_says_no_time_moves_nothing() -> None:
    ids = [struct.pack(">QQ", 3, n) for n in range(40)]
    mine = [one for one in ids if mmh3.hash(one, 0, signed=False) % RULES.salts == 1][:4]
    dedup = SaltDedup(1, RULES)
    # Before there is a time nothing counts, and nothing fails.
    for n, viewed_ms in enumerate((NOW_MS, -(2**62), 0, -1)):
        value = encode(1, [(mine[n], "v", "view", viewed_ms)], 0)
        assert dedup.judge(value, NOW_MS + n, 1).chunk is None
    assert (dedup.tallies[0].minute, dedup.tallies[0].received, dedup.tallies[0].clamped_records) == (0, 4, 4)
    dedup.judge(encode(1, [], NOW_MS), NOW_MS, 1)
    for value in (encode(1, [], NOW_MS), b"no batch", encode(1, [], 0)):
        dedup.judge(value, NOW_MS + FAR_MS, 1)
    assert dedup.append_ms == NOW_MS + RULES.clock_ahead_ms
    later = NOW_MS + RULES.clock_ahead_ms + MINUTE_MS
    outcome = dedup.judge(encode(1, [(mine[0], "v", "view", later)], later), later, 1)
    assert outcome.append_ms == later
    assert outcome.chunk is not None
    assert [(tally.clamped_records, tally.unreadable_records) for tally in dedup.tallies[-2:]] == [(2, 1), (0, 0)]


def test_a_repeat_stamped_anew_within_a_generation_is_a_duplicate() -> None:
    event = (uuid.UUID(int=77 << 64).bytes, "v", "view", NOW_MS)
    salt = mmh3.hash(event[0], 0, signed=False) % RULES.salts
    for away_ms in range(0, RULES.generation_ms, 5_000):
        dedup = SaltDedup(salt, RULES)
        dedup.judge(encode(salt, [event], NOW_MS), NOW_MS, salt)
        again = (*event[:3], NOW_MS + away_ms)
        assert dedup.judge(encode(salt, [again], NOW_MS + away_ms), NOW_MS + away_ms, salt).chunk is None


def test_many_events_of_many_videos_count_like_few() -> None:
    r = random.Random(1)
    ids = [i for i in (r.randbytes(16) for _ in range(24_000)) if mmh3.hash(i, 0, signed=False) % RULES.salts == 1]
    events = [(i, f"video-{r.randrange(60)}", f"kind-{r.randrange(40)}", NOW_MS - r.randrange(200_000)) for i in ids]
    # Small ones first, so that the tables grow while they hold something.
    batches = [*(events[at : at + 50] for at in range(0, 3000, 50)), events[3000:], events]
    log: list[list[Record]] = [[] for _ in range(RULES.salts)]
    log[1] = [(NOW_MS, encode(1, some, NOW_MS), NOW_MS, some) for some in batches]
    want, ledger = brute_force(log, RULES)
    machine = Machine(log, RULES, Stored())
    for at in range(len(batches)):
        machine.read(1)
        if at % 7 == 0:
            machine.flush(1)
            for shard in range(RULES.shards):
                machine.emit(shard)
        if at == 40:
            machine.restore(machine.state.copy())
    machine.flush(1)
    machine.tell(1)
    for shard in range(RULES.shards):
        machine.emit(shard)
        machine.write(shard)
    assert machine.counts == want
    assert {place: fates_of(tally) for place, tally in machine.tallies.items()} == ledger


def partial(salt: int, frontier_ms: int, counts: dict[tuple[str, int], int]) -> bytes:
    """An element with these counts by (video of one letter, minute), for a window of one shard."""
    if not counts:
        return partials.encode_frontier(salt, frontier_ms)
    rows = b"".join(
        b"\x06\x04view" + video.encode() + minute.to_bytes(8, "little") + n.to_bytes(4, "little")
        for (video, minute), n in counts.items()
    )
    return partials.encode(salt, frontier_ms, np.frombuffer(rows, np.uint8), 1)[0]


def test_only_what_changed_is_emitted() -> None:
    minute = NOW_MS // MINUTE_MS
    window = ShardWindow(RULES)
    window.absorb(partial(0, NOW_MS, {("a", minute): 3, ("b", minute): 4}))
    (rows,) = window.emit().counts
    assert cells_of(rows) == {("view", "a", minute): 3, ("view", "b", minute): 4}
    had_work = window.has_work
    assert had_work, "to learn that it is written"
    last = window.emit()
    assert (last.counts, last.settle) == ([], True)
    assert not window.has_work
    window.absorb(partial(1, NOW_MS, {("b", minute): 1, ("c", minute + 1): 1}))
    (rows,) = window.emit().counts
    assert cells_of(rows) == {("view", "b", minute): 5, ("view", "c", minute + 1): 1}


def test_an_emission_is_cut_into_elements_of_bounded_size() -> None:
    minute = NOW_MS // MINUTE_MS
    window = ShardWindow(RULES.model_copy(update={"rows_per_element_max": 3}))
    want = {(chr(97 + n), minute + n % 2): n + 1 for n in range(11)}
    window.absorb(partial(0, NOW_MS, want))
    found = [cells_of(rows) for rows in window.emit().counts]
    assert all(1 <= len(cells) <= 3 for cells in found)
    assert {(video, at): n for cells in found for (_, video, at), n in cells.items()} == want
    assert sum(map(len, found)) == len(want)


def test_what_is_closed_stays_closed_and_refuses_counts() -> None:
    minute = NOW_MS // MINUTE_MS
    window = ShardWindow(RULES)
    window.absorb(partial(0, NOW_MS, {("v", minute): 3}))
    passed = (minute + 1) * MINUTE_MS + RULES.lateness_ms
    for salt in range(RULES.salts):
        assert window.emit().closed_through is None
        window.absorb(partial(salt, passed, {}))
    # A frontier from before, which no salt sends, takes nothing back.
    window.absorb(partial(0, NOW_MS, {}))
    assert window.emit().closed_through == minute
    restored = ShardWindow(RULES)
    restored.restore(window.header(), [])
    assert not restored.has_work
    for each in (window, restored):
        assert each.closed_through == minute
        with pytest.raises(ClosedMinuteError, match=f"salt 2 sent counts for minute {minute}"):
            each.absorb(partial(2, passed, {("v", minute): 1}))


def test_a_closed_minute_leaves_state_two_hours_later_once_it_is_ranked() -> None:
    minute = NOW_MS // MINUTE_MS
    window = ShardWindow(RULES)
    state = dict(window.absorb(partial(0, NOW_MS, {("v", minute): 3})))

    def pass_minutes(minutes: int) -> None:
        for salt in range(RULES.salts):
            window.absorb(partial(salt, NOW_MS + RULES.lateness_ms + minutes * MINUTE_MS, {}))
        emission = window.emit()
        for key in emission.dropped:
            del state[key]
        state.update(emission.stored)

    pass_minutes(1)
    assert [key >> 32 for key in state] == [minute]
    pass_minutes(121)
    assert len(state) == 1, "not ranked yet"
    assert ("minute", minute) in {(ranking.span, ranking.minute) for ranking in window.rank()}
    assert not window.has_unranked
    pass_minutes(122)
    assert state == {}


def test_a_shard_of_many_years_keeps_its_chunks_apart() -> None:
    minute = NOW_MS // MINUTE_MS
    young = ShardWindow(RULES)
    version, _, closed_through = struct.unpack_from("<Bqq", young.header())
    old = ShardWindow(RULES)
    old.restore(struct.pack("<Bqq", version, 2**32 - 2, closed_through) + young.header()[17:], [])
    element = partial(0, NOW_MS, {("v", minute): 1, ("v", minute + 1): 10})
    stored = dict(chunk for _ in range(4) for chunk in old.absorb(element))
    restored = ShardWindow(RULES)
    restored.restore(old.header(), stored.items())
    (rows,) = restored.emit().counts
    assert cells_of(rows) == {("view", "v", minute): 4, ("view", "v", minute + 1): 40}


def head(salt: int = 1, salts: int = RULES.salts) -> bytes:
    return registry.prefix("ViewBatch") + bytes(16) + varint(1) + b"p" + varint(salt) + varint(salts) + varint(NOW_MS)


HOSTILE = {
    "an empty value": (b"", "unknown_schema"),
    "a foreign schema": (registry.prefix("VideoMetadata") + bytes(50), "unknown_schema"),
    "a count of 10**12": (head() + varint(10**12) + bytes(40), "count_exceeds_bytes"),
    "the most negative count": (head() + b"\xff" * 9 + b"\x01" + varint(0) + bytes(40), "count_exceeds_bytes"),
    "a length beyond the end": (head() + varint(1) + bytes(16) + varint(10**6) + bytes(30), "truncated"),
    "a negative length": (head() + varint(1) + bytes(16) + varint(-5) + bytes(30), "negative_length"),
    "a number of eleven bytes": (head() + b"\xff" * 11, "bad_varint"),
    "bytes after the end": (head() + varint(0) + b"x", "bytes_after_end"),
    "no end": (head(), "truncated"),
    "other salts": (head(salts=RULES.salts + 1) + varint(0), "salts_differ_from_topic"),
    "another salt than the key's": (head(salt=2) + varint(0), "salt_differs_from_key"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_unreadable_record_is_dead_lettered_whole_with_its_reason(name: str) -> None:
    value, reason = HOSTILE[name]
    outcome = SaltDedup(1, RULES).judge(value, NOW_MS, 1)
    assert [(r.index, r.reason, r.payload) for r in outcome.dead] == [(-1, reason, value)]
    assert outcome.chunk is None


def test_a_bad_event_does_not_sink_its_batch() -> None:
    ids = [struct.pack(">QQ", 7, n) for n in range(400)]
    salt1 = [i for i in ids if mmh3.hash(i, 0, signed=False) % RULES.salts == 1]
    other = next(i for i in ids if i not in salt1)
    at = NOW_MS
    events = [
        (salt1[0], "good", "view", at),
        (salt1[1], "x" * 100_000, "view", at),
        (salt1[2], "", "view", at),
        (other, "good", "view", at),
        (salt1[3], "good", "", at),
        (salt1[4], "good", "view", 4_070_908_800_000),
        (salt1[5], "NOTUTF", "view", at),
        (salt1[6], "good", "view", at - NOW_MS),
        (salt1[7], "good", "blocked:view", at),
        (salt1[8], "good", "blocked", at),
    ]
    value = encode(1, events, at).replace(b"NOTUTF", b"\xff\xfeTUTF")
    dedup = SaltDedup(1, RULES)
    outcome = dedup.judge(value, at, 1)
    assert [(r.index, r.reason) for r in outcome.dead] == [
        (1, "video_id_too_long"),
        (2, "video_id_empty"),
        (3, "wrong_salt"),
        (4, "kind_empty"),
        (5, "viewed_at_in_the_future"),
        (6, "video_id_not_utf8"),
        (8, "kind_reserved"),
    ]
    assert [(r.index, r.reason) for r in outcome.late] == [(7, "late")]
    (tally,) = dedup.tallies
    assert (tally.received, tally.counted, tally.invalid) == (10, 2, 1)


@examples(full=300, fast=30)
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_raise(noise: bytes, with_head: bool) -> None:
    dedup = SaltDedup(1, RULES)
    dedup.judge(head() + noise if with_head else noise, NOW_MS, 1)
    assert [tally.records for tally in dedup.tallies] == [1]
