"""The batch layer's slices against a count that knows none: the stream's verdicts, and each late event once."""

import collections
import dataclasses
import random
import uuid
from collections.abc import Iterator, Sequence

import mmh3
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings import CountingSettings
from settings.durations import HOUR_MS
from tests.support.random_streams import (
    BLOCKS,
    MINUTE_MS,
    NOW_MS,
    RULE_SETS,
    RULES,
    Record,
    SaltClock,
    brute_force,
    country_of,
    device_of,
    encode,
    is_blocked,
    random_log,
    viewer_of,
)
from tests.support.tiers import examples
from udfs.logic.kernels.id_index import Ids
from udfs.logic.kernels.shards import shard_of
from udfs.logic.slices import viewer_buckets
from udfs.logic.slices.audience import CELLS, COUNTRIES, VIEWERS, viewer_hash
from udfs.logic.slices.repeats import SeenIds
from udfs.logic.slices.slice_counts import SaltMemory, SliceCounter, SliceCounts, dedups_of
from udfs.logic.stream.ledger import Tally

PARTITIONS = 2
Cell = tuple[str, str, int]


def counted_events(
    log: list[list[Record]], rules: CountingSettings, late_ms_max: int
) -> tuple[list[tuple[bytes, Cell]], list[tuple[bytes, Cell]], collections.Counter[str]]:
    """By the words of the rule: the events that count in time, those that are added late, what becomes of late ones.

    Events as (event_id, cell).
    """
    in_time: list[tuple[bytes, Cell]] = []
    added: list[tuple[bytes, Cell]] = []
    fates: collections.Counter[str] = collections.Counter()
    for records in log:
        clock = SaltClock(rules)
        first: dict[bytes, int] = {}
        count: set[tuple[bytes, int]] = set()
        for record in records:
            append = clock.move(record)
            generation = append // rules.generation_ms
            for i, video, kind, at in record[3] or []:
                if clock.append is None or at > append + rules.future_skew_ms:
                    continue
                cell = f"blocked:{kind}" if is_blocked(i, append) else kind, video, at // MINUTE_MS
                if (at // MINUTE_MS + 1) * MINUTE_MS + rules.lateness_ms > append:
                    if i not in first or generation - first[i] > 1:
                        first[i] = generation
                        count.add((i, at))
                        in_time.append((i, cell))
                elif append - at > late_ms_max:
                    fates["too_old"] += 1
                elif (i, at) in count:
                    fates["repeats"] += 1
                else:
                    fates["added"] += 1
                    count.add((i, at))
                    added.append((i, cell))
    return in_time, added, fates


def countries_of(events: list[tuple[bytes, Cell]]) -> collections.Counter[tuple[object, ...]]:
    """Views by (kind, video, hour, country, device)."""
    names = {"DE": "DE", "de": "DE", "FR": "FR"}
    devices = {"tv": "tv", "TV": "tv", "Phone 5.1": "phone 5.1", "Other": "other", "set-top_box": "set-top_box"}
    return collections.Counter(
        (*cell[:2], cell[2] // 60, names.get(country_of(i) or "", ""), devices.get(device_of(i) or "", ""))
        for i, cell in events
    )


def viewers_of(events: list[tuple[bytes, Cell]]) -> collections.Counter[tuple[object, ...]]:
    """Views by (kind, video, minute, viewer), of those who have a name."""
    return collections.Counter((*cell, viewer_hash(name)) for i, cell in events if (name := viewer_of(i)))


def id_of_salt_0() -> bytes:
    """An id whose salt is 0."""
    ids = (uuid.UUID(int=n).bytes for n in range(1, 99))
    return next(i for i in ids if mmh3.hash(i, 0, signed=False) % RULES.salts == 0)


@pytest.fixture(autouse=True, scope="module")
def _small_groups() -> Iterator[None]:
    """Some of the slices have several buckets of viewers, small as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viewer_buckets, "_GROUP_ROWS_MIN", 4)
        yield


class Batch:
    """Slices of one partition, one after the other, with what must be kept between them."""

    def __init__(self, rules: CountingSettings, partition: int, late_ms_max: int) -> None:
        self._rules = rules
        self._partition = partition
        self._late_ms_max = late_ms_max
        self._memory: dict[int, SaltMemory] = {}
        self._known: list[SeenIds] = []
        self.views: collections.Counter[Cell] = collections.Counter()
        self.late_added: collections.Counter[Cell] = collections.Counter()
        self.countries: collections.Counter[tuple[object, ...]] = collections.Counter()
        self.viewers: collections.Counter[tuple[object, ...]] = collections.Counter()
        self.late: collections.Counter[str] = collections.Counter()
        self.tallies: dict[tuple[int, int], Tally] = {}

    def known(self, hour: int, _ids: Ids) -> list[SeenIds]:
        """Of an hour, by each slice so far."""
        return [SeenIds(one.ids[one.hours == hour], one.viewed_ms[one.hours == hour]) for one in self._known]

    def count(self, records: Sequence[tuple[bytes | None, bytes, int]]) -> SliceCounts:
        """One slice."""
        counter = SliceCounter(
            self._rules,
            partition=self._partition,
            partitions=PARTITIONS,
            blocks=BLOCKS,
            late_ms_max=self._late_ms_max,
            viewed_ms_min=0,
            dedups=dedups_of(self._memory, self._rules),
        )
        for key, value, record_ms in records:
            counter.count(key, value, record_ms)
        found = counter.finish(self.known)
        assert found.memory is not None
        self._memory = found.memory
        self._known.append(found.known)
        self.late += found.late
        self.tallies |= {(salt, one.minute): one for salt, mine in found.tallies.items() for one in mine}
        for row in found.sums.cells.to_pylist():
            cell = row["kind"], row["video_id"], row["minute"]
            assert row["shard"] == shard_of(row["video_id"], self._rules.shards)
            assert row["hour"] == row["minute"] // 60
            self.views[cell] += row["views"]
            self.late_added[cell] += row["late_added"]
        self._take_audience(found)
        return found

    def _take_audience(self, found: SliceCounts) -> None:
        sums, shards = found.sums, self._rules.shards
        for table, schema in zip((sums.cells, sums.countries, sums.viewers), (CELLS, COUNTRIES, VIEWERS), strict=True):
            assert table.schema == schema
            groups = [(row["hour"], row["shard"]) for row in table.to_pylist()]
            assert groups == sorted(groups)
        places: set[tuple[object, ...]] = set()
        for row in sums.countries.to_pylist():
            assert row["shard"] == shard_of(row["video_id"], shards)
            place = row["kind"], row["video_id"], row["hour"], row["country"], row["device"]
            assert place not in places
            places.add(place)
            self.countries[place] += row["views"]
        names = [(row["hour"], row["shard"], row["kind"], row["video_id"]) for row in sums.viewers.to_pylist()]
        assert names == sorted(names)
        for row in sums.viewers.to_pylist():
            shard, bucket = divmod(row["shard"], sums.viewer_buckets)
            assert shard + bucket * shards == shard_of(row["video_id"], shards * sums.viewer_buckets)
            assert row["minute"] // 60 == row["hour"]
            self.viewers[row["kind"], row["video_id"], row["minute"], row["viewer"]] += row["views"]


def partition_records(r: random.Random, log: list[list[Record]], partition: int) -> list[tuple[bytes, bytes, int]]:
    """The records of a partition's salts, each salt's in order, mixed."""
    left = {salt: list(log[salt]) for salt in range(RULES.salts) if salt % PARTITIONS == partition}
    found = []
    while left:
        salt = r.choice(list(left))
        stamp, value, _, _ = left[salt].pop(0)
        found.append((salt.to_bytes(4, "big"), value, stamp))
        if not left[salt]:
            del left[salt]
    return found


@examples(full=20, fast=3)
@given(
    st.integers(min_value=0, max_value=2**48),
    st.sampled_from(RULE_SETS),
    st.sampled_from([20 * MINUTE_MS, 6 * 24 * HOUR_MS]),
)
def test_slices_count_like_the_brute_force_count_wherever_they_are_cut(
    seed: int, rules: CountingSettings, late_ms_max: int
) -> None:
    r = random.Random(seed)
    log = random_log(r, rules)
    want, ledger = brute_force(log, rules)
    in_time, added, want_fates = counted_events(log, rules, late_ms_max)
    countries: collections.Counter[tuple[object, ...]] = collections.Counter()
    viewers: collections.Counter[tuple[object, ...]] = collections.Counter()
    views: collections.Counter[Cell] = collections.Counter()
    late_added: collections.Counter[Cell] = collections.Counter()
    fates: collections.Counter[str] = collections.Counter()
    received = 0
    tallies: dict[tuple[int, int], collections.Counter[str]] = {}
    for partition in range(PARTITIONS):
        records = partition_records(r, log, partition)
        batch = Batch(rules, partition, late_ms_max)
        at = 0
        while at < len(records):
            size = r.choice([1, 2, 7, 40])
            batch.count(records[at : at + size])
            at += size
        views += batch.views
        late_added += batch.late_added
        countries += batch.countries
        viewers += batch.viewers
        fates += batch.late
        received += sum(tally.received for tally in batch.tallies.values())
        for place, tally in batch.tallies.items():
            columns = dataclasses.asdict(tally)
            del columns["minute"]
            tallies[place] = +collections.Counter(columns)
    assert +views == want
    assert +late_added == collections.Counter(cell for _, cell in added)
    assert countries == countries_of([*in_time, *added])
    assert viewers == viewers_of([*in_time, *added])
    assert +fates == +want_fates
    assert received == sum(fate["received"] for fate in ledger.values())
    assert tallies == ledger


def test_a_slice_counts_the_same_again_to_the_byte() -> None:
    log = random_log(random.Random(5), RULES)
    records = partition_records(random.Random(6), log, 1)
    first, second = (Batch(RULES, 1, HOUR_MS) for _ in range(2))
    for batch in (first, second):
        batch.count(records[:50])
    one, two = (batch.count(records[50:]) for batch in (first, second))
    assert all(mine.equals(other) for mine, other in zip(one.sums[:3], two.sums[:3], strict=True))
    assert one.memory == two.memory
    assert one.known.ids.tobytes() == two.known.ids.tobytes()
    minutes = [tuple(row.values()) for row in one.sums.cells.select(CELLS.names[:5]).to_pylist()]
    assert len(minutes) == len(set(minutes))


def test_a_late_event_counts_once_however_often_and_in_whichever_slice_it_comes() -> None:
    identity = id_of_salt_0()
    late = (identity, "v", "view", NOW_MS - HOUR_MS)
    batch = Batch(RULES, 0, 6 * 24 * HOUR_MS)
    for hours in (0, 0, 1, 30):
        stamp = NOW_MS + hours * HOUR_MS
        batch.count([(bytes(4), encode(0, [late], stamp), stamp)])
    assert +batch.late_added == {("view", "v", late[3] // MINUTE_MS): 1}
    assert not +batch.views
    assert batch.late == {"added": 1, "repeats": 3}
    # Stamped anew it is another one, by the same rule as in the stream.
    batch.count([(bytes(4), encode(0, [(*late[:3], late[3] + 1)], stamp), stamp)])
    assert batch.late["added"] == 2
    # And after the time for which is known what counts, nothing is added.
    stamp = NOW_MS + 7 * 24 * HOUR_MS
    batch.count([(bytes(4), encode(0, [(*late[:3], late[3] + 2)], stamp), stamp)])
    assert (batch.late["added"], batch.late["too_old"]) == (2, 1)


def test_times_that_no_calendar_holds_are_late_and_too_old() -> None:
    identity = id_of_salt_0()
    batch = Batch(RULES, 0, HOUR_MS)
    found = batch.count([(bytes(4), encode(0, [(identity, "v", "view", -(2**62))], NOW_MS), NOW_MS)])
    assert batch.late == {"too_old": 1}
    assert found.sums.cells.num_rows == 0
    assert isinstance(found.sums.cells, pa.Table)


def test_records_without_a_salt_of_the_partition_are_its_own_and_dead() -> None:
    batch = Batch(RULES, 1, HOUR_MS)
    batch.count([(None, b"x", NOW_MS), (bytes(4), encode(0, [], NOW_MS), NOW_MS), (b"123456", b"", NOW_MS)])
    assert {place: tally.unreadable_records for place, tally in batch.tallies.items()} == {(-2, NOW_MS // MINUTE_MS): 3}
